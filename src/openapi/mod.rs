//! The `OpenAPI` document of `GET /openapi.json`, made once.
//!
//! `operations` says what there is, one line or few per operation; `operation` adds what all have in common (errors of
//! the transport, headers, security), so that nobody writes it twice. Answers are the types of `views/`; error codes are
//! those of the catalogue. A test holds the document against the router.

mod events;
mod examples;
mod finish;
mod operation;
mod operations;
mod requests;
mod words;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use operation::{Operation, error_schema, headers};

static DOCUMENT: OnceLock<String> = OnceLock::new();

/// The document as JSON text.
pub fn text() -> &'static str {
    DOCUMENT.get_or_init(|| document().to_string())
}

/// The document.
pub fn document() -> Value {
    let operations = operations::all();
    let mut schemas = requests::all();
    schemas.insert("Error".into(), error_schema());
    schemas.extend(events::schemas());
    for (name, schema) in operations.iter().flat_map(|one| &one.schemas) {
        schemas.insert(name.clone(), schema.clone());
    }
    finish::finish(&mut schemas);
    let mut paths: Map<String, Value> = Map::new();
    for one in &operations {
        let path = paths.entry(one.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(one.method.to_owned(), one.to_value(&schemas));
        }
    }
    let mut whole = frame(&operations);
    let mut webhooks = json!(events::webhooks());
    let mut paths = Value::Object(paths);
    let responses: Map<String, Value> = operations.iter().flat_map(Operation::shared_refusals).collect();
    examples::add(&mut paths, &schemas);
    examples::add(&mut webhooks, &schemas);
    let responses = Value::Object(responses);
    keep_used(&mut schemas, &[&paths, &webhooks, &responses]);
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("paths".to_owned(), paths);
        fields.insert("webhooks".to_owned(), webhooks);
        let security = json!({"bearer": {
            "type": "http", "scheme": "bearer", "description": "An API key: `ak_live_…`.",
        }});
        let components = json!({
            "schemas": schemas, "responses": responses, "headers": headers(), "securitySchemes": security,
        });
        fields.insert("components".to_owned(), components);
    }
    whole
}

/// Takes out the schemas that nothing refers to: parts that were put into the objects that they were parts of.
fn keep_used(schemas: &mut Map<String, Value>, roots: &[&Value]) {
    let mut used = vec![];
    for root in roots {
        references(root, &mut used);
    }
    let mut next = 0;
    while let Some(name) = used.get(next).cloned() {
        if let Some(schema) = schemas.get(&name) {
            references(schema, &mut used);
        }
        next += 1;
    }
    schemas.retain(|name, _| used.contains(name));
}

/// The names of schemas below `value`, each once.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
            if let Some(name) = name.filter(|name| !found.iter().any(|known| known == name)) {
                found.push(name.to_owned());
            }
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The document without its operations and schemas.
fn frame(operations: &[Operation]) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ampout",
            "version": env!("CARGO_PKG_VERSION"),
            "description": include_str!("introduction.md"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": tags(operations),
    })
}

/// Every tag that an operation has, in the order of the operations.
fn tags(operations: &[Operation]) -> Vec<Value> {
    let mut names: Vec<&str> = Vec::new();
    for one in operations {
        if !names.contains(&one.tag) {
            names.push(one.tag);
        }
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}
