//! An example for every JSON body of the document, made from its schema.

use serde_json::{Map, Value, json};

/// Fields that are null in an example: they are filled when something went wrong or has not happened yet.
const EMPTY: [&str; 14] = [
    "bounce_reason",
    "bounced_at",
    "disabled_at",
    "disabled_reason",
    "error",
    "imap_error",
    "opened_at",
    "outreach_id",
    "plan_limit_reached_on",
    "replied_at",
    "smtp_reply",
    "unsubscribed_at",
    "waiting_reason",
    "imap_read_at",
];

/// Text fields by their names.
const TEXTS: &[(&str, &str)] = &[
    ("Message-Id", "<0196757a3a0070008000@example.org>"),
    ("after", "0196757a-3a00-7000-8000-000000000001"),
    ("bounce", "hard"),
    ("body_html", "<p>Hello {{first_name}}</p>"),
    ("body_text", "Hello {{first_name}}"),
    ("company", "Analytical Engines"),
    ("contact_email", "ada@example.com"),
    ("context", "RCPT TO"),
    ("date", "2026-04-27"),
    ("email", "ada@example.com"),
    ("email_id", "1abcDE-000000-XY"),
    ("emails", "ada@example.com"),
    ("event", "bounce"),
    ("first_name", "Ada"),
    ("from_email", "charles@example.org"),
    ("from_name", "Charles"),
    ("imap_host", "imap.example.org"),
    ("imap_password", "correct horse"),
    ("imap_username", "charles@example.org"),
    ("invalid", "is invalid"),
    ("label", "First mailbox"),
    ("last_name", "Lovelace"),
    ("message", "is invalid"),
    ("message_id", "<0196757a3a0070008000@example.org>"),
    ("name", "Spring"),
    ("plaintext", "ak_live_3vT0mYq1cXo7ZkJ2sWb9nLf4hRd6uGa8eKi5pQtBxYz"),
    ("plan_slug", "free"),
    ("prefix", "ak_live_3vT0"),
    ("rcpt", "ada@example.com"),
    ("secret", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ("smtp2go", "https://ampout.example.org/inbound/smtp2go/3vT0mYq1cXo7"),
    ("smtp_host", "smtp.example.org"),
    ("smtp_password", "correct horse"),
    ("smtp_username", "charles@example.org"),
    ("subject", "Hello {{first_name}}"),
    ("url", "https://example.com/hooks/ampout"),
    ("version", "0.1.0"),
];

/// Whole numbers by their names.
const NUMBERS: &[(&str, i64)] = &[
    ("batch_size", 50),
    ("daily_limit", 50),
    ("imap_port", 993),
    ("max_wait_seconds", 420),
    ("min_wait_seconds", 120),
    ("smtp_port", 465),
    ("status_code", 200),
];

/// Gives every JSON body below `value` that has none an example.
pub(super) fn add(value: &mut Value, schemas: &Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            if let Some(body) = fields.get_mut("application/json").and_then(Value::as_object_mut) {
                let schema = body.get("schema").filter(|_| !body.contains_key("examples"));
                if let Some(example) = schema.map(|schema| of("", schema, schemas)) {
                    body.insert("example".to_owned(), example);
                }
            }
            fields.values_mut().for_each(|inner| add(inner, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| add(inner, schemas)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A value that the schema allows, likely for a field of that name.
fn of(name: &str, schema: &Value, all: &Map<String, Value>) -> Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|at| at.rsplit('/').next());
    if let Some(found) = target.and_then(|name| all.get(name)) {
        return of(name, found, all);
    }
    let options = schema.get("oneOf").and_then(Value::as_array);
    if let Some(options) = options {
        let nullable = options.iter().any(is_null);
        let chosen =
            options.iter().find(|one| !is_null(one)).filter(|_| !(nullable && EMPTY.contains(&name)));
        return chosen.map_or(Value::Null, |one| of(name, one, all));
    }
    let kinds = kinds(schema);
    if kinds.contains(&"null") && EMPTY.contains(&name) {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(|words| words.get(0)) {
        return first.clone();
    }
    match kinds.first().copied().unwrap_or_default() {
        "object" => object(schema, all),
        "array" => schema.get("items").map_or_else(|| json!([]), |items| json!([of(name, items, all)])),
        "string" => text(name, schema),
        "integer" => {
            let least = schema.get("minimum").and_then(Value::as_i64).unwrap_or(1).max(1);
            json!(NUMBERS.iter().find(|one| one.0 == name).map_or(least, |one| one.1))
        }
        "number" => json!(8.0),
        "boolean" => json!(false),
        _ => Value::Null,
    }
}

fn is_null(schema: &Value) -> bool {
    kinds(schema) == ["null"]
}

fn kinds(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

fn object(schema: &Value, all: &Map<String, Value>) -> Value {
    let Some(fields) = schema.get("properties").and_then(Value::as_object) else { return map(schema, all) };
    fields.iter().map(|(name, inner)| (name.clone(), of(name, inner, all))).collect()
}

/// An object whose fields are not named: sums by kind or day, or what a client calls them.
fn map(schema: &Value, all: &Map<String, Value>) -> Value {
    let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) else {
        return json!({});
    };
    let words = schema.get("propertyNames").map(|names| of("", names, all));
    let (name, value) = match words {
        Some(Value::String(word)) if word != "text" => (word, of("", inner, all)),
        _ if kinds(inner) == ["integer"] => ("2026-04-27".to_owned(), json!(1)),
        _ => ("role".to_owned(), json!("CTO")),
    };
    Value::Object(Map::from_iter([(name, value)]))
}

fn text(name: &str, schema: &Value) -> Value {
    match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => json!("0196757a-3a00-7000-8000-000000000001"),
        Some("date-time") => json!("2026-04-27T09:00:00Z"),
        _ => json!(TEXTS.iter().find(|one| one.0 == name).map_or("text", |one| one.1)),
    }
}
