//! The whole surround on a small router: what a client sees at every exit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::{
    Router,
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    fallback::{surrounded, with_fallbacks},
    json::{NoFields, body_limit, parse_body, read_body},
    paging::List,
    path::PathIds,
    query::Query,
};
use crate::errors::{ApiError, ApiResult, Code};

/// A JSON body, read and parsed as those of writes are.
struct Json<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> ApiResult<Self> {
        let limit = body_limit(&request);
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body, limit).await?;
        let content_type = parts.headers.get("content-type").map(|value| value.to_str().unwrap_or(""));
        parse_body(content_type, &bytes).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    name: String,
}

async fn panics() -> StatusCode {
    std::hint::black_box(None).unwrap()
}

async fn show(ids: PathIds, _: Query<NoFields>) -> ApiResult<String> {
    ids.id("id", Code::CampaignNotFound).map(|id| id.to_string())
}

async fn list(list: List) -> impl IntoResponse {
    list.answer(vec![uuid::Uuid::nil(); 3], |id| *id, |id| id)
}

fn app() -> Router {
    let routes = Router::new()
        .route("/things", get(list).post(async |Json(Echo { name }): Json<Echo>| name))
        .route("/things/{id}", get(show))
        .route("/contact_imports", post(async |Json(_): Json<Value>| "taken"))
        .route("/panic", get(panics))
        .route("/raw/{status}", get(foreign))
        .route(
            "/loco",
            get(async || -> loco_rs::Result<&'static str> { Err(loco_rs::Error::string("secret")) }),
        )
        .route("/fault", get(async || -> ApiResult<&'static str> { Err(ApiError::internal("secret")) }));
    surrounded(with_fallbacks(routes))
}

async fn foreign(ids: PathIds) -> impl IntoResponse {
    let status = StatusCode::from_bytes(ids.text("status").unwrap().as_bytes()).unwrap();
    (status, [("etag", "x"), ("retry-after", "7"), ("content-type", "text/html")], "secret")
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.header("content-type"), Some("application/json"));
        let code = body.get("code").and_then(Value::as_str).unwrap().to_owned();
        assert_eq!(body.get("type"), Some(&json!(format!("https://docs.ampout.dev/errors/{code}"))));
        assert!(!String::from_utf8_lossy(&self.body).contains("secret"));
        format!("{} {code}", self.status)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn send(request: Request) -> Answer {
    let response = app().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn call(method: Method, uri: &str) -> Answer {
    send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await
}

async fn post_body(uri: &str, content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::builder().method("POST").uri(uri).header("content-type", content_type);
    send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn every_exit_answers_in_the_envelope() {
    for (uri, expected) in [
        ("/nowhere", "404 not_found"),
        ("/things/", "404 not_found"),
        ("/things/1", "404 campaign_not_found"),
        ("/things/%ff", "404 campaign_not_found"),
        ("/things/1?x=1", "400 bad_request"),
        ("/things?limit=0", "400 bad_request"),
        ("/panic", "500 internal_error"),
        ("/fault", "500 internal_error"),
        ("/loco", "500 internal_error"),
        ("/raw/403", "400 bad_request"),
        ("/raw/413", "413 payload_too_large"),
        ("/raw/422", "422 unprocessable"),
        ("/raw/503", "503 service_unavailable"),
        ("/raw/504", "503 service_unavailable"),
    ] {
        let answer = call(Method::GET, uri).await;
        assert_eq!(answer.code(), expected, "{uri}");
        assert!(answer.header("x-request-id").is_some(), "{uri}");
    }
}

#[tokio::test]
async fn a_foreign_answer_keeps_its_headers_and_loses_its_body() {
    let answer = call(Method::GET, "/raw/503").await;
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("etag"), None);
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
}

#[tokio::test]
async fn a_wrong_method_names_those_allowed() {
    let answer = call(Method::DELETE, "/things").await;
    assert_eq!(answer.code(), "405 method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    for (uri, status) in [("/things?limit=2", 200), ("/nowhere", 404), ("/things/1", 404), ("/panic", 500)] {
        let (head, get) = (call(Method::HEAD, uri).await, call(Method::GET, uri).await);
        assert_eq!((head.status, get.status), (status, status), "{uri}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{uri}");
        for name in ["content-type", "content-length", "link"] {
            assert_eq!(head.header(name), get.header(name), "{uri} {name}");
        }
    }
}

#[tokio::test]
async fn a_list_links_to_its_next_page() {
    let answer = call(Method::GET, "/things?limit=2").await;
    let link = "</things?limit=2&after=00000000-0000-0000-0000-000000000000>; rel=\"next\"";
    assert_eq!(answer.header("link"), Some(link));
    assert_eq!(call(Method::GET, "/things").await.header("link"), None);
}

#[tokio::test]
async fn a_body_is_refused_by_size_then_by_type_then_by_content() {
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(post_body("/things", "text/plain", large.clone()).await.code(), "413 payload_too_large");
    let largest = vec![b' '; 1 << 20];
    assert_eq!(post_body("/things", "text/plain", largest).await.code(), "415 unsupported_media_type");
    assert_eq!(post_body("/things", "application/json", "{").await.code(), "400 bad_request");
    assert_eq!(call(Method::POST, "/things").await.code(), "400 bad_request");
    let taken = post_body("/things", "application/json", "{\"name\":\"x\"}").await;
    assert_eq!((taken.status, taken.body.as_slice()), (200, b"x".as_slice()));
    let mut import = large;
    import.extend(b"{}");
    assert_eq!(post_body("/contact_imports", "application/json", import).await.status, 200);
}

#[tokio::test]
async fn the_clients_request_id_is_kept() {
    let request = Request::builder().uri("/things").header("x-request-id", "mine-1");
    let answer = send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
}
