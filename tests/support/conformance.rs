//! Every answer that a test gets is held against the `OpenAPI` document: its status, its headers and its body, and the
//! body of the request if it was accepted. Whatever the document does not say is a breach, and fails the test.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use ampout::openapi;
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    http::{HeaderMap, header, request, response},
    middleware::Next,
    response::Response,
};
use boon::{Compiler, SchemaIndex, Schemas};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Headers of answers that the document has to name. What describes the body or guards browsers is every server's.
const NAMED: [&str; 8] = [
    "x-request-id",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "link",
    "idempotent-replayed",
    "www-authenticate",
    "allow",
];

/// The largest body of a request that is looked at.
const MOST_BYTES: u64 = 256 << 10;

/// What was found in one world.
#[derive(Clone, Default)]
pub struct Conformance(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    breaches: BTreeSet<String>,
    /// Operations that have succeeded, as `GET /campaigns/{id}`.
    succeeded: BTreeSet<String>,
}

impl Conformance {
    /// Operations that succeeded so far, as `GET /campaigns/{id}`.
    pub fn succeeded(&self) -> BTreeSet<String> {
        self.0.lock().succeeded.clone()
    }

    /// Fails with all that the document does not say.
    pub fn assert(&self) {
        let breaches = std::mem::take(&mut self.0.lock().breaches);
        let all: Vec<String> = breaches.into_iter().collect();
        assert!(all.is_empty(), "/openapi.json does not say what was answered:\n{}", all.join("\n"));
    }

    /// Looks at a request and its answer.
    pub async fn follow(self, request: Request, next: Next) -> Response {
        let (asked, body) = request.into_parts();
        let (sent, body) = if is_small_json(&asked.headers, &body) {
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            (Some(bytes.clone()), Body::from(bytes))
        } else {
            (None, body)
        };
        let (given, body) = next.run(Request::from_parts(asked.clone(), body)).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        self.judge(&asked, sent.as_ref(), &given, &bytes);
        Response::from_parts(given, Body::from(bytes))
    }

    fn judge(&self, asked: &request::Parts, sent: Option<&Bytes>, given: &response::Parts, body: &Bytes) {
        let route = asked.extensions.get::<MatchedPath>().map_or("no route", MatchedPath::as_str);
        let (method, status) = (asked.method.as_str(), given.status.as_u16());
        let breaches = JUDGE.breaches(route, asked, sent, given, body);
        let mut found = self.0.lock();
        if given.status.is_success() {
            found.succeeded.insert(format!("{method} {route}"));
        }
        for breach in breaches {
            found.breaches.insert(format!("{method} {route} {status}: {breach}"));
        }
    }
}

fn is_small_json(headers: &HeaderMap, body: &Body) -> bool {
    let known = HttpBody::size_hint(body).exact();
    kind(headers) == "application/json" && known.is_some_and(|length| length <= MOST_BYTES)
}

/// The content type without its parameters.
fn kind(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

static JUDGE: LazyLock<Judge> = LazyLock::new(|| Judge::new(openapi::document()));

/// A document and its schemas, ready to be used.
pub struct Judge {
    document: Value,
    strict: Compiled,
    /// Of bodies of requests: a `format` is an advice there (an address may stand between spaces, say).
    lenient: Compiled,
}

/// Schemas by their text: most of them are the same in many places.
struct Compiled {
    schemas: Schemas,
    known: HashMap<String, SchemaIndex>,
}

impl Compiled {
    fn new<'a>(document: &Value, places: impl Iterator<Item = &'a String>, formats: bool) -> Self {
        let mut compiler = Compiler::new();
        if formats {
            compiler.enable_format_assertions();
        }
        compiler.add_resource("ampout:document", document.clone()).unwrap();
        let (mut schemas, mut known) = (Schemas::new(), HashMap::new());
        for place in places {
            let text = document.pointer(place).unwrap().to_string();
            known.entry(text).or_insert_with(|| {
                let address = place.replace('{', "%7B").replace('}', "%7D");
                let compiled = compiler.compile(&format!("ampout:document#{address}"), &mut schemas);
                compiled.unwrap_or_else(|error| panic!("{place}: {error:#}"))
            });
        }
        Self { schemas, known }
    }

    fn misfit(&self, schema: &Value, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.known[&schema.to_string()]).err().map(|error| error.to_string())
    }
}

impl Judge {
    /// Answers may have no field that the document does not name: clients are not told so, tests are.
    pub fn new(mut document: Value) -> Self {
        close(&mut document, false);
        let mut places = vec![];
        places_of_schemas("", &document, &mut places);
        let strict = Compiled::new(&document, places.iter(), true);
        let bodies = places.iter().filter(|place| place.contains("/requestBody/"));
        let lenient = Compiled::new(&document, bodies, false);
        Self { document, strict, lenient }
    }

    /// What is wrong with a value by the schema at this pointer.
    pub fn misfit(&self, pointer: &str, value: &Value) -> Option<String> {
        self.strict.misfit(self.document.pointer(pointer).unwrap(), value)
    }

    fn breaches(
        &self,
        route: &str,
        asked: &request::Parts,
        sent: Option<&Bytes>,
        given: &response::Parts,
        body: &Bytes,
    ) -> Vec<String> {
        // HEAD is answered as GET.
        let is_head = asked.method == "HEAD";
        let method = if is_head { "get".to_owned() } else { asked.method.as_str().to_ascii_lowercase() };
        let operation = format!("/paths/{}/{method}", escaped(route));
        let status = given.status.as_u16();
        if self.document.pointer(&operation).is_none() {
            let known = [404, 405].contains(&status);
            return if known { vec![] } else { vec!["no such operation".to_owned()] };
        }
        let Some(response) = self.resolved(&format!("{operation}/responses/{status}")) else {
            return vec!["the status is not described".to_owned()];
        };
        let mut found = self.header_breaches(&response, &given.headers);
        if [429, 503].contains(&status) && !given.headers.contains_key("retry-after") {
            found.push("the header retry-after is missing".to_owned());
        }
        let keyed = self.document.pointer(&format!("{operation}/security")).is_none();
        if keyed && given.status.is_success() && !given.headers.contains_key("ratelimit") {
            found.push("the header ratelimit is missing".to_owned());
        }
        if !is_head {
            found.extend(self.body_breach(&response, given, body));
        }
        // Rows of an import that do not fit are left out, and counted in the answer.
        let all_taken = !String::from_utf8_lossy(body).contains("\"invalid_count\"");
        let accepted = given.status.is_success() && all_taken;
        if let Some(sent) = sent.filter(|sent| accepted && !sent.is_empty()) {
            found.extend(self.request_breach(&operation, sent));
        }
        found
    }

    /// Where what is at this pointer really stands, if it is there.
    fn resolved(&self, pointer: &str) -> Option<String> {
        let place = self.document.pointer(pointer)?;
        let target = place["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        Some(target.unwrap_or(pointer).to_owned())
    }

    fn header_breaches(&self, response: &str, given: &HeaderMap) -> Vec<String> {
        let described = self.document.pointer(&format!("{response}/headers")).unwrap().as_object().unwrap();
        let mut found = vec![];
        for name in NAMED.iter().filter(|name| given.contains_key(**name)) {
            if !described.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                found.push(format!("the header {name} is not described"));
            }
        }
        for name in described.keys() {
            let place = self.resolved(&format!("{response}/headers/{name}")).unwrap();
            let header = self.document.pointer(&place).unwrap();
            let Some(text) = given.get(name.as_str()).map(|value| value.to_str().unwrap()) else {
                if header["required"] == true {
                    found.push(format!("the header {name} is missing"));
                }
                continue;
            };
            let number = text.parse::<u64>().ok().filter(|_| header["schema"]["type"] == "integer");
            let value = number.map_or_else(|| json!(text), |number| json!(number));
            let misfit = self.misfit(&format!("{place}/schema"), &value);
            found.extend(misfit.map(|misfit| format!("the header {name}: {misfit}")));
        }
        found
    }

    fn body_breach(&self, response: &str, given: &response::Parts, body: &Bytes) -> Option<String> {
        let kind = kind(&given.headers);
        if self.document.pointer(&format!("{response}/content/{}", escaped(&kind))).is_none() {
            return Some(format!("the content type {kind:?} is not described"));
        }
        if kind != "application/json" {
            return None;
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Some("no JSON".to_owned()) };
        let misfit = self.misfit(&format!("{response}/content/application~1json/schema"), &value);
        misfit.map(|misfit| format!("{misfit}\n    in {}", short(&value)))
    }

    /// What was accepted has to be what the document allows.
    fn request_breach(&self, operation: &str, sent: &Bytes) -> Option<String> {
        let schema = format!("{operation}/requestBody/content/application~1json/schema");
        let value: Value = serde_json::from_slice(sent).ok()?;
        let Some(described) = self.document.pointer(&schema) else {
            let takes_none =
                value == json!({}) || operation.contains("~1inbound~1") || operation.contains("~1u~1");
            return (!takes_none)
                .then(|| format!("a body was accepted that is not described: {}", short(&value)));
        };
        let misfit = self.lenient.misfit(described, &value);
        misfit.map(|misfit| format!("accepted although it does not fit: {misfit}\n    in {}", short(&value)))
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(600).collect()
}

/// A name as a JSON pointer has it (RFC 6901).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Where the document has a schema of a header or a body.
fn places_of_schemas(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let place = format!("{at}/{}", escaped(name));
                if name == "schema" {
                    found.push(place);
                } else {
                    places_of_schemas(&place, inner, found);
                }
            }
        }
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(n, inner)| places_of_schemas(&format!("{at}/{n}"), inner, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Lets no object have a field that it does not name. Parts of an `allOf` see only their own fields.
fn close(value: &mut Value, is_part: bool) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter_mut() {
                if let Some(parts) = inner.as_array_mut().filter(|_| name == "allOf") {
                    for part in parts {
                        close(part, true);
                    }
                } else {
                    close(inner, false);
                }
            }
            let is_object = fields.get("type").is_some_and(|kind| kind.to_string().contains("\"object\""));
            let names_fields = fields.get("properties").is_some_and(Value::is_object);
            if is_object && names_fields && !is_part {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| close(inner, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
