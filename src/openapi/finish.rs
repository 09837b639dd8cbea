//! What the derived schemas of `views/` do not say by themselves: fields of flattened parts in one object, the words
//! that a text field can have, the objects whose shape is not a struct's, and what each field means.

use serde_json::{Map, Value, json};

use super::{requests::LEFT_OUT, words};

/// Finishes every schema.
pub(super) fn finish(schemas: &mut Map<String, Value>) {
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in &names {
        let flat = schemas.get(name).map(|schema| flattened(schema, schemas));
        if let (Some(schema), Some(flat)) = (schemas.get_mut(name), flat) {
            *schema = flat;
        }
    }
    for (name, schema) in schemas.iter_mut() {
        describe(name, schema);
    }
}

/// One object with the fields of all parts of an `allOf`.
fn flattened(schema: &Value, all: &Map<String, Value>) -> Value {
    let Some(parts) = schema.get("allOf").and_then(Value::as_array) else { return schema.clone() };
    let (mut fields, mut required) = (Map::new(), vec![]);
    for part in parts {
        let (object, always) = resolved(part, all);
        let object = flattened(&object, all);
        if let Some(found) = object.get("properties").and_then(Value::as_object) {
            fields.extend(found.clone());
        }
        if let Some(found) = object.get("required").and_then(Value::as_array).filter(|_| always) {
            required.extend(found.iter().cloned());
        }
    }
    let mut whole = json!({"type": "object", "properties": fields, "required": required});
    if let (Some(text), Some(object)) = (schema.get("description"), whole.as_object_mut()) {
        object.insert("description".to_owned(), text.clone());
    }
    whole
}

/// What a part refers to, and whether it is always there: an optional part is a choice of null and itself.
fn resolved(part: &Value, all: &Map<String, Value>) -> (Value, bool) {
    let options = part.get("oneOf").and_then(Value::as_array);
    let chosen = options.and_then(|options| options.iter().find(|one| one.get("$ref").is_some()));
    let target = chosen.unwrap_or(part);
    let name = target.get("$ref").and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
    let found = name.and_then(|name| all.get(name)).unwrap_or(target);
    (found.clone(), options.is_none())
}

/// Adds words, shapes and meanings to the fields of a schema, and of those inside it.
fn describe(name: &str, schema: &mut Value) {
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, inner) in fields.iter_mut() {
            if let Some(shape) = words::shape(name, field) {
                *inner = shape;
            }
            if let Some(choice) = words::choice(name, field) {
                restrict(inner, choice);
            }
            describe("", inner);
            if let (Some(text), Some(object)) = (words::meaning(field), inner.as_object_mut()) {
                let whole = match object.get("description").and_then(Value::as_str) {
                    None => text.to_owned(),
                    Some(left_out) if left_out.starts_with(LEFT_OUT) => format!("{text} {left_out}"),
                    Some(said) => said.to_owned(),
                };
                object.insert("description".to_owned(), json!(whole));
            }
        }
    }
    if let Some(items) = schema.get_mut("items") {
        describe("", items);
    }
}

/// A text field has one of these words, or null if it could be null before.
fn restrict(schema: &mut Value, words: &[&str]) {
    let nullable = schema.get("type").and_then(Value::as_array).is_some();
    let mut all: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    if nullable {
        all.push(Value::Null);
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert("enum".to_owned(), Value::Array(all));
    }
}
