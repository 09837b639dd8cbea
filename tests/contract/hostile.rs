//! Every operation of the application, given what no client should send: it is refused with the right code, nothing of
//! it is a fault of ours, and nothing that is misspelt is ignored.

use ampout::clock::new_id;
use axum::http::Method;
use axum_test::TestResponse;
use serde_json::{Value, json};

use crate::{
    support::{World, billing::paying_world as world},
    tenancy::operations::{self, Operation, id_of, prepare, rows_of},
};

/// A request to a known operation, not yet spoilt.
struct Valid {
    method: Method,
    route: &'static str,
    public: bool,
    path: String,
    body: Option<Value>,
}

/// Rows of its own for each request: what an earlier one changed does not matter.
async fn valid(w: &World, operation: &Operation) -> Valid {
    let rows = rows_of(w, &w.alice).await;
    prepare(w, operation, &rows).await;
    let (path, body) = operation.filled(|name| id_of(&rows, name));
    Valid { method: operation.method.clone(), route: operation.route, public: operation.public, path, body }
}

impl Valid {
    async fn send(&self, w: &World, path: &str, body: Option<&[u8]>) -> TestResponse {
        let mut request = w.server.method(self.method.clone(), path);
        if !self.public {
            request = request.authorization_bearer(&w.alice.key);
        }
        match body {
            Some(body) => {
                request.bytes(body.to_vec().into()).add_header("content-type", "application/json").await
            }
            None => request.await,
        }
    }

    /// What recipients' programs and mail providers choose is not refused.
    fn is_for_recipients(&self) -> bool {
        ["/u/", "/o/", "/inbound/", "/webhooks/stripe"].iter().any(|at| self.route.starts_with(at))
    }
}

/// Status and code; never a fault of ours.
fn judge(answer: &TestResponse, what: &str) -> (u16, String) {
    let status = answer.status_code().as_u16();
    assert!(status < 500, "{what}: {status} {}", answer.text());
    let code = if status < 400 { Value::Null } else { answer.json::<Value>()["code"].clone() };
    (status, code.as_str().unwrap_or_default().to_owned())
}

/// Where a JSON value has others in it, as pointers; itself included.
fn places(value: &Value, at: &str) -> Vec<String> {
    let below: Vec<String> = match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| places(value, &format!("{at}/{name}"))).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(n, value)| places(value, &format!("{at}/{n}"))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    std::iter::once(at.to_owned()).chain(below).collect()
}

/// What stands in place of a value. No word of one piece: as the name of a host it would be looked up.
fn replacements() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(""),
        json!(" \t "),
        json!("two words"),
        json!("line\r\nBcc: break@example.com"),
        json!("{{ first_name | default: '%' }} \u{202e}\u{1f4a5}'; DROP TABLE accounts;--"),
        json!("\u{1f4a5} ".repeat(150)),
        json!("x ".repeat(200_000)),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(5e-324),
        json!(i64::from(i32::MAX) + 1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!([null]),
        json!({"a": {"b": [1]}}),
    ]
}

#[tokio::test]
async fn no_value_in_a_body_is_a_fault_of_ours() {
    world(|w| async move {
        let mut sent = 0;
        for operation in operations::all() {
            let sample = valid(&w, &operation).await;
            let Some(body) = &sample.body else { continue };
            for place in places(body, "") {
                let mut request = valid(&w, &operation).await;
                for replacement in replacements() {
                    let mut spoilt = request.body.clone().unwrap();
                    *spoilt.pointer_mut(&place).unwrap() = replacement.clone();
                    let bytes = spoilt.to_string().into_bytes();
                    let answer = request.send(&w, &request.path, Some(&bytes)).await;
                    let short: String = replacement.to_string().chars().take(40).collect();
                    let what = format!("{} {} with {place} = {short}", request.method, request.route);
                    let (status, _) = judge(&answer, &what);
                    sent += 1;
                    if status < 400 {
                        request = valid(&w, &operation).await;
                    }
                }
            }
        }
        assert!(sent > 500, "only {sent} requests were sent");
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name_wherever_it_stands() {
    world(|w| async move {
        for operation in operations::all() {
            let request = valid(&w, &operation).await;
            let Some(body) = &request.body else { continue };
            if request.is_for_recipients() {
                continue;
            }
            let objects = places(body, "").into_iter().filter(|at| body.pointer(at).unwrap().is_object());
            for place in objects {
                let mut spoilt = body.clone();
                spoilt.pointer_mut(&place).unwrap()["daily_limt"] = json!(1);
                let bytes = spoilt.to_string().into_bytes();
                let answer = request.send(&w, &request.path, Some(&bytes)).await;
                let what = format!("{} {} at {place:?}", request.method, request.route);
                assert_eq!(judge(&answer, &what), (400, "bad_request".to_owned()), "{what}");
                assert!(answer.text().contains("daily_limt"), "{what}: {}", answer.text());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_json_object_is_a_bad_request() {
    let deep = ["[".repeat(200_000), "{\"a\":".repeat(100_000)].map(String::into_bytes);
    let bodies: Vec<&[u8]> = vec![
        b"{",
        b"{}{}",
        b"{} x",
        b"null",
        b"[]",
        b"\"text\"",
        b"NaN",
        b"{'a': 1}",
        b"{\"a\": 1,}",
        b"{\"label\": 1e999}",
        b"{\"label\": \"\xff\xfe\"}",
        b"{\"label\": \"\\ud800\"}",
        b"{\"label\": \"\\u0000\"}",
        b"{\"label\": \"a\nb\"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b" ",
        &deep[0],
        &deep[1],
    ];
    world(|w| async move {
        for operation in operations::all() {
            let request = valid(&w, &operation).await;
            if request.method == Method::GET || request.is_for_recipients() {
                continue;
            }
            for body in &bodies {
                let answer = request.send(&w, &request.path, Some(body)).await;
                let start = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
                let what = format!("{} {} with {start:?}", request.method, request.route);
                assert_eq!(judge(&answer, &what), (400, "bad_request".to_owned()), "{what}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_field_given_twice_is_refused_by_name() {
    world(|w| async move {
        for operation in operations::all() {
            let request = valid(&w, &operation).await;
            let Some(body) = request.body.as_ref().filter(|_| !request.is_for_recipients()) else { continue };
            let Some((name, value)) = body.as_object().unwrap().iter().next() else { continue };
            let twice = format!("{{\"{name}\": {value}, \"{name}\": {value}}}");
            let answer = request.send(&w, &request.path, Some(twice.as_bytes())).await;
            let what = format!("{} {}", request.method, request.route);
            assert_eq!(judge(&answer, &what), (400, "bad_request".to_owned()), "{what}");
            assert!(answer.text().contains(name), "{what}: {}", answer.text());
        }
    })
    .await;
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let queries = [
        "limt=1",
        "limit=1&limit=1",
        "after=x&after=x",
        "a%zz=1",
        "%ff=1",
        "%00=1",
        "=",
        "limit=",
        "limit=%",
        "limit=1.0",
        "limit=1e3",
        "limit=%F0%9F%92%A5",
        "limit=18446744073709551616",
        "after=00000000000000000000000000000000",
        "after[]=1",
    ];
    world(|w| async move {
        for operation in operations::all() {
            let request = valid(&w, &operation).await;
            if request.is_for_recipients() {
                continue;
            }
            let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
            for query in queries {
                let path = format!("{}{}{query}", request.path, operation.query_mark());
                let answer = request.send(&w, &path, body.as_deref()).await;
                let what = format!("{} {}?{query}", request.method, request.route);
                assert_eq!(judge(&answer, &what), (400, "bad_request".to_owned()), "{what}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_id_in_a_path_is_a_fault_of_ours() {
    let long = "a".repeat(5_000);
    let ids =
        ["%zz", "%00", "%ff", "%20", "%2F", "..%2f..", "0", "null", "%7Bid%7D", "*", "\u{1f4a5}", &long];
    world(|w| async move {
        for operation in operations::all().iter().filter(|it| it.route.contains('{') && !it.public) {
            let request = valid(&w, operation).await;
            let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
            for id in ids {
                let filled = request.path.split('/').map(|segment| {
                    let (segment, query) = segment.split_once('?').map_or((segment, ""), |(it, q)| (it, q));
                    let mark = if query.is_empty() { "" } else { "?" };
                    if segment.len() == 36 { format!("{id}{mark}{query}") } else { segment.to_owned() }
                });
                let path = filled.collect::<Vec<_>>().join("/");
                let answer = request.send(&w, &path, body.as_deref()).await;
                let what = format!("{} {} with {id:.40}", request.method, request.route);
                assert_eq!(judge(&answer, &what).0, 404, "{what}: {}", answer.text());
                let unknown =
                    request.send(&w, &path.replace(id, &new_id().to_string()), body.as_deref()).await;
                assert_eq!(answer.text(), unknown.text(), "{what}");
            }
        }
    })
    .await;
}
