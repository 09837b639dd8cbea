//! One operation of the document: what its line says, and what every operation of its kind has besides.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::errors::{Code, Sample};

/// What the transport itself can answer to any request.
const ALWAYS: [Code; 5] =
    [Code::NotFound, Code::MethodNotAllowed, Code::InternalError, Code::ServiceUnavailable, Code::BadRequest];

/// An operation as it is described.
pub(super) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
    id: &'static str,
    summary: &'static str,
    query: Vec<Value>,
    body: Option<&'static str>,
    answers: BTreeMap<u16, Value>,
    codes: Vec<Code>,
    public: bool,
    paged: bool,
    /// The schemas that its answers refer to.
    pub schemas: Vec<(String, Value)>,
}

/// A method and its path.
pub(super) const fn operation(method: &'static str, path: &'static str) -> Operation {
    Operation {
        method,
        path,
        tag: "",
        id: "",
        summary: "",
        query: vec![],
        body: None,
        answers: BTreeMap::new(),
        codes: vec![],
        public: false,
        paged: false,
        schemas: vec![],
    }
}

impl Operation {
    /// Its tag, its `operationId` and what it does.
    pub const fn named(mut self, tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        (self.tag, self.id, self.summary) = (tag, id, summary);
        self
    }

    /// It needs no key.
    pub const fn public(mut self) -> Self {
        self.public = true;
        self
    }

    /// It takes the body of that name in `requests`.
    pub const fn takes(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    /// It takes this query parameter.
    pub fn query(mut self, name: &str, schema: &Value) -> Self {
        self.query.push(json!({"name": name, "in": "query", "required": false, "schema": schema}));
        self
    }

    /// It answers a view.
    pub fn answers<T: ToSchema>(mut self, status: u16) -> Self {
        let schema = self.reference::<T>();
        self.answers.insert(status, json!({"application/json": {"schema": schema}}));
        self
    }

    /// It answers something that is no JSON of a view.
    pub fn answers_other(mut self, content_type: &str, schema: &Value) -> Self {
        self.answers.insert(200, json!({content_type: {"schema": schema}}));
        self
    }

    /// It answers a page of views.
    pub fn lists<T: ToSchema>(mut self) -> Self {
        let items = self.reference::<T>();
        let schema = json!({"type": "array", "maxItems": 1000, "items": items});
        self.answers.insert(200, json!({"application/json": {"schema": schema}}));
        self.paged = true;
        let limit = json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100});
        self.query("limit", &limit).query("after", &json!({"type": "string", "format": "uuid"}))
    }

    /// It can be refused with these, besides what any request of its kind can be refused with.
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.codes.extend(codes);
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Value {
        let name = T::name().into_owned();
        let mut found = vec![];
        T::schemas(&mut found);
        found.push((name.clone(), T::schema()));
        self.schemas.extend(found.into_iter().map(|(name, schema)| (name, value(&schema))));
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn mutates(&self) -> bool {
        self.method != "get"
    }

    /// Whether the recipients' mail programs choose its query and body.
    fn is_for_recipients(&self) -> bool {
        self.tag == "Recipients"
    }

    /// The operation as the document has it.
    pub fn to_value(&self, schemas: &Map<String, Value>) -> Value {
        let mut shown = json!({
            "operationId": self.id, "tags": [self.tag], "summary": self.summary,
            "parameters": self.parameters(), "responses": self.responses(),
        });
        if let Some(fields) = shown.as_object_mut() {
            if self.public {
                fields.insert("security".into(), json!([]));
            }
            if let Some(body) = self.body {
                let schema = json!({"$ref": format!("#/components/schemas/{body}")});
                let content = json!({"application/json": {"schema": schema}});
                fields.insert(
                    "requestBody".into(),
                    json!({"required": needs_body(body, schemas), "content": content}),
                );
            }
        }
        shown
    }

    fn parameters(&self) -> Vec<Value> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let mut found: Vec<Value> = names
            .map(|name| {
                let schema = match name {
                    "token" => json!({"type": "string"}),
                    "code" => json!({"type": "string", "enum": codes()}),
                    _ => json!({"type": "string", "format": "uuid"}),
                };
                json!({"name": name, "in": "path", "required": true, "schema": schema})
            })
            .collect();
        found.extend(self.query.iter().cloned());
        if self.mutates() && !self.is_for_recipients() {
            found.push(json!({
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "Within 24 hours the same key answers the first response again and does nothing.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }));
        }
        found
    }

    /// Every code that it can be refused with.
    fn refusals(&self) -> Vec<Code> {
        let mut codes: Vec<Code> = self.codes.iter().chain(&ALWAYS).copied().collect();
        if !self.public {
            codes.extend([Code::Unauthorized, Code::RateLimited]);
        }
        if self.mutates() && !self.is_for_recipients() {
            codes.extend([Code::IdempotencyConflict, Code::PayloadTooLarge, Code::UnsupportedMediaType]);
        }
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    fn responses(&self) -> Map<String, Value> {
        let mut found = Map::new();
        for (status, content) in &self.answers {
            let said =
                json!({"description": "Success.", "headers": self.headers(*status), "content": content});
            found.insert(status.to_string(), said);
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.refusals() {
            by_status.entry(code.status()).or_default().push(code);
        }
        for (status, codes) in by_status {
            found.insert(status.to_string(), self.refusal(status, &codes));
        }
        found
    }

    fn refusal(&self, status: u16, codes: &[Code]) -> Value {
        let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        let lines: Vec<_> =
            codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
        let schema = json!({"allOf": [
            {"$ref": "#/components/schemas/Error"},
            {"type": "object", "properties": {"code": {"type": "string", "enum": words}}},
        ]});
        let samples: Map<String, Value> = codes
            .iter()
            .map(|code| (code.as_str().to_owned(), json!({"value": Sample::of(*code)})))
            .collect();
        json!({
            "description": lines.join("\n\n"),
            "headers": self.headers(status),
            "content": {"application/json": {"schema": schema, "examples": samples}},
        })
    }

    fn headers(&self, status: u16) -> Value {
        let mut names = vec!["x-request-id"];
        let limited = !self.public || self.refusals().contains(&Code::RateLimited);
        if limited && ![401, 404, 405].contains(&status) {
            names.extend(["RateLimit", "RateLimit-Policy"]);
        }
        match status {
            401 => names.push("WWW-Authenticate"),
            405 => names.push("Allow"),
            409 | 429 | 503 => names.push("Retry-After"),
            200 if self.paged => names.push("Link"),
            _ => {}
        }
        if self.mutates() && !self.is_for_recipients() && [200, 201, 202, 402, 404, 422].contains(&status) {
            names.push("Idempotent-Replayed");
        }
        let headers: Map<String, Value> =
            names.into_iter().map(|name| (name.to_owned(), header(name))).collect();
        Value::Object(headers)
    }
}

/// Whether an empty body, which is `{}`, is refused.
fn needs_body(body: &str, schemas: &Map<String, Value>) -> bool {
    schemas.get(body).is_some_and(|schema| schema.get("required").is_some())
}

/// A header of an answer: what it holds and how it looks.
fn header(name: &str) -> Value {
    let (kind, text) = match name {
        "x-request-id" => ("string", "Names the request; a log line of the server can be found by it."),
        "RateLimit" => {
            ("string", "What is left, and the seconds until the window ends: `\"key\";r=59;t=60`.")
        }
        "RateLimit-Policy" => ("string", "The limit and its window in seconds: `\"key\";q=60;w=60`."),
        "WWW-Authenticate" => ("string", "`Bearer`."),
        "Allow" => ("string", "The methods that the path has."),
        "Retry-After" => ("integer", "Seconds to wait before the request is repeated."),
        "Link" => ("string", "`<…>; rel=\"next\"`: the next page, when there is one."),
        "Idempotent-Replayed" => ("boolean", "`true` on an answer that was given before to the same key."),
        _ => ("string", "See the description of the answer."),
    };
    json!({"description": text, "schema": {"type": kind}})
}

/// The catalogue's codes as clients see them.
fn codes() -> Vec<&'static str> {
    Code::ALL.iter().map(|code| code.as_str()).collect()
}

/// The body that every refusal has.
pub(super) fn error_schema() -> Value {
    let whole = json!({"type": "integer"});
    let failure = json!({
        "type": "object", "required": ["field", "message"],
        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
    });
    json!({
        "type": "object", "required": ["code", "type", "message"], "additionalProperties": false,
        "properties": {
            "code": {"type": "string", "enum": codes()},
            "type": {"type": "string", "format": "uri"},
            "message": {"type": "string"},
            "details": {"type": "object", "properties": {
                "errors": {"type": "array", "items": failure},
                "current_period_sends": whole, "monthly_limit": whole, "plan_slug": {"type": "string"},
                "limit": whole, "period": whole, "reason": {"type": "string"},
            }},
        },
    })
}

fn value(schema: &impl Serialize) -> Value {
    // A schema always serialises.
    serde_json::to_value(schema).unwrap_or_default()
}
