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
    /// Other content types of the body, each with its schema and a sample.
    other_bodies: Vec<(&'static str, Value, Value)>,
    answers: BTreeMap<u16, Value>,
    codes: Vec<Code>,
    public: bool,
    /// Others than our clients call it, and choose what they send.
    by_others: bool,
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
        other_bodies: vec![],
        answers: BTreeMap::new(),
        codes: vec![],
        public: false,
        by_others: false,
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

    /// Recipients' programs or a provider call it, without a key of either kind.
    pub const fn by_others(mut self) -> Self {
        (self.public, self.by_others) = (true, true);
        self
    }

    /// It takes the body of that name in `requests`.
    pub const fn takes(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    /// It takes a body of another content type, in place of that one or where it takes no JSON.
    pub fn or_takes(mut self, content_type: &'static str, schema: Value, sample: Value) -> Self {
        self.other_bodies.push((content_type, schema, sample));
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

    /// Whether it takes an `Idempotency-Key`: it changes something, and it is ours to say what is sent.
    fn takes_key(&self) -> bool {
        self.method != "get" && !self.by_others
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
            let content = self.content();
            if !content.is_empty() {
                let required = self.body.is_some_and(|body| needs_body(body, schemas));
                fields.insert("requestBody".into(), json!({"required": required, "content": content}));
            }
        }
        shown
    }

    /// The content types of the body.
    fn content(&self) -> Map<String, Value> {
        let json = self.body.map(|body| {
            let schema = json!({"$ref": format!("#/components/schemas/{body}")});
            ("application/json".to_owned(), json!({"schema": schema}))
        });
        let others = self
            .other_bodies
            .iter()
            .map(|(kind, schema, sample)| ((*kind).to_owned(), json!({"schema": schema, "example": sample})));
        json.into_iter().chain(others).collect()
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
        if self.takes_key() {
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
        if self.takes_key() {
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
        for (status, codes) in self.refusals_by_status() {
            let said = match codes.as_slice() {
                [code] => json!({"$ref": format!("#/components/responses/{}", self.shared_name(*code))}),
                several => self.refusal(status, several),
            };
            found.insert(status.to_string(), said);
        }
        found
    }

    fn refusals_by_status(&self) -> BTreeMap<u16, Vec<Code>> {
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.refusals() {
            by_status.entry(code.status()).or_default().push(code);
        }
        by_status
    }

    /// Refusals with one code, which most operations have alike, by their names.
    pub fn shared_refusals(&self) -> Vec<(String, Value)> {
        let by_status = self.refusals_by_status();
        let alone = by_status.iter().filter(|(_, codes)| codes.len() == 1);
        let named = alone.flat_map(|(status, codes)| {
            codes.iter().map(|code| (self.shared_name(*code), self.refusal(*status, &[*code])))
        });
        named.collect()
    }

    /// What such a refusal is called: other headers, other name.
    fn shared_name(&self, code: Code) -> String {
        let unlimited = if self.is_limited() { "" } else { "Unlimited" };
        let unkeyed = if self.takes_key() { "" } else { "Unkeyed" };
        match code.status() {
            401 | 405 => format!("{code:?}"),
            402 | 404 | 422 => format!("{unlimited}{unkeyed}{code:?}"),
            _ => format!("{unlimited}{code:?}"),
        }
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

    /// Whether its requests are counted against a limit.
    fn is_limited(&self) -> bool {
        !self.public || self.codes.contains(&Code::RateLimited)
    }

    /// The headers of its answers of a status.
    fn headers(&self, status: u16) -> Value {
        let mut names = vec!["x-request-id"];
        // Counted after the key is known and before anything else is looked at.
        if self.is_limited() && ![401, 405].contains(&status) {
            names.extend(["RateLimit", "RateLimit-Policy"]);
        }
        match status {
            401 if !self.public => names.push("WWW-Authenticate"),
            405 => names.push("Allow"),
            409 | 429 | 503 => names.push("Retry-After"),
            200 if self.paged => names.push("Link"),
            _ => {}
        }
        if self.takes_key() && [200, 201, 202, 402, 404, 422].contains(&status) {
            names.push("Idempotent-Replayed");
        }
        let refer = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
        let headers: Map<String, Value> =
            names.into_iter().map(|name| (name.to_owned(), refer(name))).collect();
        Value::Object(headers)
    }
}

/// Whether an empty body, which is `{}`, is refused.
fn needs_body(body: &str, schemas: &Map<String, Value>) -> bool {
    schemas.get(body).is_some_and(|schema| schema.get("required").is_some())
}

/// The headers that answers can have: what they hold and how they look.
pub(super) fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    let text = || json!({"type": "string", "minLength": 1});
    let constant = |value: &str| json!({"type": "string", "const": value});
    let like = |pattern: &str| json!({"type": "string", "pattern": pattern});
    json!({
        "x-request-id": {
            "description": "Names the request; a log line of the server can be found by it.",
            "required": true, "schema": text(),
        },
        "RateLimit": header(
            "What is left, and the seconds until the window ends: `\"key\";r=59;t=60`.",
            like("^\"(key|signup)\";r=[0-9]+;t=[0-9]+$"),
        ),
        "RateLimit-Policy": header(
            "The limit and its window in seconds: `\"key\";q=60;w=60`.",
            like("^\"(key|signup)\";q=[0-9]+;w=[0-9]+$"),
        ),
        "WWW-Authenticate": header("`Bearer`.", constant("Bearer")),
        "Allow": header("The methods that the path has.", text()),
        "Retry-After": header(
            "Seconds to wait before the request is repeated.",
            json!({"type": "integer", "minimum": 1}),
        ),
        "Link": header("`<…>; rel=\"next\"`: the next page, when there is one.", text()),
        "Idempotent-Replayed": header("On an answer that was given before to the same key.", constant("true")),
    })
}

/// The catalogue's codes as clients see them.
fn codes() -> Vec<&'static str> {
    Code::ALL.iter().map(|code| code.as_str()).collect()
}

/// The body that every refusal has.
pub(super) fn error_schema() -> Value {
    let whole = json!({"type": "integer"});
    let failure = json!({
        "type": "object", "required": ["field", "message"], "additionalProperties": false,
        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
    });
    json!({
        "type": "object", "required": ["code", "type", "message"], "additionalProperties": false,
        "properties": {
            "code": {"type": "string", "enum": codes()},
            "type": {"type": "string", "format": "uri"},
            "message": {"type": "string"},
            "details": {"type": "object", "additionalProperties": false, "properties": {
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
