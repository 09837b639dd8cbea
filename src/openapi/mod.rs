//! The `OpenAPI` document of `GET /openapi.json`, made once.
//!
//! `operations` says what there is, one line or few per operation; `operation` adds what all have in common (errors of
//! the transport, headers, security), so that nobody writes it twice. Answers are the types of `views/`; error codes are
//! those of the catalogue. A test holds the document against the router.

mod operation;
mod operations;
mod requests;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use operation::{Operation, error_schema};

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
    for (name, schema) in operations.iter().flat_map(|one| &one.schemas) {
        schemas.insert(name.clone(), schema.clone());
    }
    let mut paths: Map<String, Value> = Map::new();
    for one in &operations {
        let path = paths.entry(one.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(one.method.to_owned(), one.to_value());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ampout",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Outbound email for developers and their agents: campaigns, paced per mailbox, never lost \
                and never doubled.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": tags(&operations),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {
                "type": "http", "scheme": "bearer", "description": "An API key: `ak_live_…`.",
            }},
        },
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
