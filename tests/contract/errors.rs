//! The catalogue of error codes against the code that raises them, and every exit of the transport through the real
//! router.

use std::{collections::BTreeSet, net::SocketAddr};

use ampout::{app::App, errors::Code};
use axum::{Router, http::Method, routing::get};
use axum_test::{TestResponse, TestServer};
use loco_rs::app::Hooks;
use serde_json::{Value, json};

use crate::support::{World, source::sources, world};

/// What raises a code without writing its name.
const CONSTRUCTORS: [(&str, Code); 5] = [
    ("ApiError::internal(", Code::InternalError),
    ("ApiError::unavailable(", Code::ServiceUnavailable),
    ("ApiError::bad_request(", Code::BadRequest),
    ("ApiError::unprocessable(", Code::Unprocessable),
    ("Failures::new()", Code::ValidationFailed),
];

/// The codes that the application's own code raises, outside of `errors/`.
fn raised() -> BTreeSet<Code> {
    let mut found = BTreeSet::new();
    // The catalogue and the document name codes; neither raises them.
    let naming = ["src/errors/", "src/openapi/"];
    let others = sources("src")
        .into_iter()
        .filter(|it| !naming.iter().any(|at| it.path.starts_with(at)) && !it.is_test());
    for source in others {
        let code = source.code();
        for rest in code.split("Code::").skip(1) {
            let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            found.extend(Code::ALL.iter().copied().find(|code| format!("{code:?}") == name));
        }
        // `tenant_entity!(table, CodeOfMissing, …)`
        for rest in code.split("tenant_entity!(").skip(1) {
            let name = rest.split([',', ')']).nth(1).unwrap_or_default().trim().to_owned();
            found.extend(Code::ALL.iter().copied().find(|code| format!("{code:?}") == name));
        }
        found.extend(CONSTRUCTORS.iter().filter(|(call, _)| code.contains(call)).map(|(_, code)| *code));
    }
    found
}

#[test]
fn every_code_of_the_catalogue_is_raised_by_something() {
    let raised = raised();
    let waiting: BTreeSet<Code> = Code::reserved().iter().copied().collect();
    for &code in Code::ALL {
        assert!(
            raised.contains(&code) || waiting.contains(&code),
            "nothing raises {}: raise it, or take it out of the catalogue",
            code.as_str()
        );
        assert!(
            !(raised.contains(&code) && waiting.contains(&code)),
            "{} is raised now: take it off the list",
            code.as_str()
        );
    }
}

#[test]
fn the_text_of_a_code_is_its_name() {
    for code in Code::ALL {
        let mut snake = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        assert_eq!(code.as_str(), snake);
    }
}

/// Status and code of a refusal, after looking at all that every refusal must have.
fn refusal(answer: &TestResponse) -> (u16, String) {
    let status = answer.status_code().as_u16();
    assert!(answer.maybe_header("x-request-id").is_some(), "{status} without x-request-id");
    assert_eq!(answer.header("content-type"), "application/json");
    let body: Value = answer.json();
    let fields: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    let allowed = ["code", "type", "message", "details"];
    assert!(fields.iter().all(|name| allowed.contains(&name.as_str())), "{fields:?}");
    let code = body["code"].as_str().unwrap().to_owned();
    assert_eq!(Code::parse(&code).unwrap().status(), status);
    assert_eq!(body["type"], format!("https://docs.ampout.dev/errors/{code}"));
    assert!(!body["message"].as_str().unwrap().is_empty());
    (status, code)
}

async fn raw(w: &World, method: Method, path: &str, content_type: Option<&str>, body: &[u8]) -> TestResponse {
    let request = w.server.method(method, path).authorization_bearer(&w.alice.key);
    let request = request.bytes(body.to_vec().into());
    match content_type {
        Some(name) => request.add_header("content-type", name).await,
        None => request.await,
    }
}

/// Method, path, type and body of a request; status and code of its refusal.
type Case<'a> = (Method, &'a str, Option<&'a str>, &'a [u8], u16, &'a str);

#[tokio::test]
async fn every_refusal_of_the_transport_has_its_code_and_the_envelope() {
    world(|w| async move {
        let json_type = Some("application/json");
        let large = vec![b' '; (1 << 20) + 1];
        let cases: [Case; 17] = [
            (Method::GET, "/nowhere", None, b"", 404, "not_found"),
            (Method::GET, "/", None, b"", 404, "not_found"),
            (Method::GET, "/campaigns/", None, b"", 404, "not_found"),
            (Method::GET, "//campaigns", None, b"", 404, "not_found"),
            (Method::GET, "/Campaigns", None, b"", 404, "not_found"),
            (Method::GET, "/campaigns/x", None, b"", 404, "campaign_not_found"),
            (Method::PUT, "/campaigns", None, b"", 405, "method_not_allowed"),
            (Method::GET, "/signup", None, b"", 405, "method_not_allowed"),
            (Method::POST, "/api_keys", json_type, &large, 413, "payload_too_large"),
            (Method::POST, "/api_keys", Some("text/plain"), b"{}", 415, "unsupported_media_type"),
            (
                Method::POST,
                "/api_keys",
                Some("application/x-www-form-urlencoded"),
                b"label=x",
                415,
                "unsupported_media_type",
            ),
            (Method::POST, "/api_keys", json_type, b"{\"label\":", 400, "bad_request"),
            (Method::POST, "/api_keys", json_type, b"[]", 400, "bad_request"),
            (Method::POST, "/api_keys", json_type, b"{\"label\":1}", 400, "bad_request"),
            (Method::POST, "/api_keys", json_type, b"{\"lable\":\"x\"}", 400, "bad_request"),
            (Method::POST, "/api_keys?dry_run=1", json_type, b"{\"label\":\"x\"}", 400, "bad_request"),
            (Method::GET, "/account?verbose=1", None, b"", 400, "bad_request"),
        ];
        for (method, path, content_type, body, status, code) in cases {
            let answer = raw(&w, method.clone(), path, content_type, body).await;
            assert_eq!(refusal(&answer), (status, code.to_owned()), "{method} {path}: {}", answer.text());
        }
        assert_eq!(w.alice.seen("/api_keys").await.as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_what_was_not_known() {
    world(|w| async move {
        for (path, body, name) in [
            ("/api_keys", json!({"lable": "x"}), "lable"),
            ("/campaigns", json!({"campain": {}}), "campain"),
            ("/campaigns", json!({"campaign": {"colour": "red"}}), "colour"),
            ("/api_keys?dry_run=1", json!({"label": "x"}), "dry_run"),
        ] {
            let answer = w.alice.post(path, &body).await;
            assert_eq!(refusal(&answer), (400, "bad_request".to_owned()), "{path}");
            assert!(answer.json::<Value>()["message"].as_str().unwrap().contains(name), "{}", answer.text());
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_method_names_exactly_the_methods_of_the_router() {
    world(|w| async move {
        for route in App::routes(&w.ctx).collect() {
            let path = route.uri.replace(['{', '}'], "");
            let answer = w.server.method(Method::PUT, &path).await;
            assert_eq!(refusal(&answer), (405, "method_not_allowed".to_owned()), "{path}");
            let allow = answer.header("allow").to_str().unwrap().to_owned();
            let named: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
            let mut of_route: BTreeSet<&str> = route.actions.iter().map(Method::as_str).collect();
            if of_route.contains("GET") {
                of_route.insert("HEAD");
            }
            assert_eq!(named, of_route, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    world(|w| async move {
        let large = vec![b' '; (1 << 20) + 1];
        let nobody = w.server.post("/campaigns/x/pause?y=1").bytes(large.clone().into()).await;
        assert_eq!(refusal(&nobody).0, 401, "the key goes before the body");
        let unknown = w.server.post("/nowhere").bytes(large.clone().into()).await;
        assert_eq!(refusal(&unknown).0, 404, "the route goes before the key");
        let wrong = w.server.put("/campaigns").await;
        assert_eq!(refusal(&wrong).0, 405, "the method goes before the key");
        let post = |path: &'static str, kind: &'static str, body: Vec<u8>| {
            let w = w.clone();
            async move { refusal(&raw(&w, Method::POST, path, Some(kind), &body).await).0 }
        };
        assert_eq!(post("/campaigns/x/enroll", "text/plain", large).await, 413);
        assert_eq!(post("/campaigns/x/enroll", "text/plain", b"{".to_vec()).await, 415);
        assert_eq!(post("/campaigns/x/enroll", "application/json", b"{".to_vec()).await, 400);
        let invalid = b"{\"batch_size\":0}".to_vec();
        assert_eq!(post("/campaigns/x/enroll", "application/json", invalid).await, 404);
    })
    .await;
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    world(|w| async move {
        w.alice.made("/api_keys", &json!({"label": "second"})).await;
        for path in
            ["/status", "/account", "/api_keys?limit=1", "/campaigns", "/campaigns/x", "/nowhere", "/signup"]
        {
            let get = w.alice.get(path).await;
            let head = w.server.method(Method::HEAD, path).authorization_bearer(&w.alice.key).await;
            assert_eq!(head.status_code(), get.status_code(), "{path}");
            assert!(head.as_bytes().is_empty(), "{path}");
            for name in ["content-type", "content-length", "link", "allow"] {
                assert_eq!(head.maybe_header(name), get.maybe_header(name), "{path} {name}");
            }
            assert!(head.maybe_header("x-request-id").is_some(), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_body_is_an_empty_object_and_needs_no_type() {
    world(|w| async move {
        let answer = raw(&w, Method::POST, "/api_keys", None, b"").await;
        assert_eq!(refusal(&answer), (422, "validation_failed".to_owned()));
        let unknown = raw(&w, Method::POST, "/campaigns/x/pause", None, b"").await;
        assert_eq!(refusal(&unknown), (404, "campaign_not_found".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn every_success_carries_a_request_id_and_keeps_the_clients() {
    world(|w| async move {
        let (one, other) = (w.alice.get("/account").await, w.alice.get("/account").await);
        assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
        let named = w.server.get("/status").add_header("x-request-id", "trace-7").await;
        assert_eq!(named.header("x-request-id"), "trace-7");
    })
    .await;
}

/// The application's own middlewares around handlers that fail.
fn failing(w: &World) -> TestServer {
    async fn panics() -> &'static str {
        panic!("a secret of the handler")
    }
    async fn fails() -> loco_rs::Result<&'static str> {
        Err(loco_rs::Error::string("a secret of the handler"))
    }
    let mut router = Router::new().route("/panic", get(panics)).route("/fails", get(fails));
    for layer in App::middlewares(&w.ctx) {
        router = layer.apply(router).unwrap();
    }
    let service = router.with_state(w.ctx.clone()).into_make_service_with_connect_info::<SocketAddr>();
    TestServer::new(service).unwrap()
}

#[tokio::test]
async fn a_panic_answers_500_and_tells_nothing() {
    world(|w| async move {
        let server = failing(&w);
        for path in ["/panic", "/fails"] {
            let answer = server.get(path).await;
            assert_eq!(refusal(&answer), (500, "internal_error".to_owned()), "{path}");
            assert!(!answer.text().contains("secret"), "{}", answer.text());
        }
    })
    .await;
}

#[tokio::test]
async fn without_its_database_the_service_says_when_to_come_back() {
    world(|w| async move {
        w.ctx.db.clone().close().await.unwrap();
        let public = w.server.get("/status").await;
        for answer in
            [public, w.alice.get("/account").await, w.alice.post("/api_keys", &json!({"label": "x"})).await]
        {
            assert_eq!(refusal(&answer), (503, "service_unavailable".to_owned()));
            assert!(answer.header("retry-after").to_str().unwrap().parse::<u32>().unwrap() >= 1);
            assert_eq!(answer.json::<Value>()["details"], Value::Null);
        }
    })
    .await;
}
