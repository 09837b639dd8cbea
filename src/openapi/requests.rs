//! The bodies that operations take: the bounds that `params/` checks, in the words of JSON Schema.

use serde_json::{Map, Value, json};

use crate::params::enrollments::MOST_BATCH_NUMBER;

/// How what a field is that is left out is said, behind what it means.
pub(super) const LEFT_OUT: &str = "Left out, it is ";
/// What a campaign that names no longest wait has.
const LONGEST_WAIT: &str = "`420`, or `min_wait_seconds` where that is more";

/// Every body by its name.
pub(super) fn all() -> Map<String, Value> {
    let mut found = Map::new();
    let bodies = [
        ("Signup", body(&["email"], json!({"email": email(), "name": nullable(text(255))}))),
        ("NewApiKey", body(&["label"], json!({"label": name(), "client_kind": client_kind()}))),
        ("NewContactImport", wrapped("contact_import", contact_import())),
        ("ContactChange", wrapped("contact", contact(&[]))),
        (
            "NewOutreach",
            wrapped(
                "outreach",
                with_defaults(body(&["name"], outreach()), &json!({"unique_contacts": false})),
            ),
        ),
        ("OutreachChange", wrapped("outreach", body(&[], outreach()))),
        ("NewCampaign", wrapped("campaign", new_campaign())),
        ("CampaignChange", wrapped("campaign", campaign_change())),
        ("NewSmtpCredential", wrapped("smtp_credential", credential(true))),
        ("SmtpCredentialChange", wrapped("smtp_credential", credential(false))),
        (
            "NewWebhook",
            wrapped("webhook", with_defaults(body(&["url"], webhook()), &json!({"event_filters": ["*"]}))),
        ),
        ("WebhookChange", wrapped("webhook", webhook_change())),
        ("TestSend", test_send()),
        ("StripeEvent", stripe_event()),
        ("Smtp2goEvent", smtp2go_event()),
        ("Checkout", body(&["plan_slug"], json!({"plan_slug": name()}))),
        (
            "Enroll",
            body(
                &["contact_import_id"],
                json!({"contact_import_id": id(), "batch_size": or(50, nullable(whole(1, 100_000)))}),
            ),
        ),
        (
            "EnrollContact",
            body(
                &["contact_id"],
                json!({
                    "contact_id": id(), "batch_number": or(0, nullable(whole(0, MOST_BATCH_NUMBER))),
                    "priority": or(false, nullable(flag())),
                }),
            ),
        ),
        ("Dispatch", body(&[], json!({"batch_number": nullable(whole(0, i32::MAX))}))),
        ("Resolve", body(&["as"], json!({"as": {"type": "string", "enum": ["sent", "resend"]}}))),
    ];
    found.extend(bodies.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    found
}

/// What Stripe sends: of the many fields, those that are read.
fn stripe_event() -> Value {
    let object = json!({"type": "object", "additionalProperties": true});
    let data = json!({"type": "object", "additionalProperties": true, "properties": {"object": object}});
    json!({
        "type": "object", "additionalProperties": true, "required": ["id", "type"],
        "properties": {
            "id": {"type": "string", "minLength": 1}, "type": {"type": "string"},
            "livemode": {"type": "boolean"}, "data": data,
        },
    })
}

/// What SMTP2GO sends: of the many fields, those that are read.
fn smtp2go_event() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object", "additionalProperties": true,
        "properties": {
            "event": {
                "type": "string",
                "description": "`bounce`, `spam` and `unsubscribe` have an effect; others are taken and forgotten.",
            },
            "bounce": {"type": "string", "description": "`hard` or `soft`; a soft bounce changes nothing."},
            "rcpt": text(), "email_id": text(), "Message-Id": text(), "message": text(), "context": text(),
        },
    })
}

/// An object with these fields and no others.
#[expect(clippy::needless_pass_by_value, reason = "callers write it in place")]
fn body(required: &[&str], fields: Value) -> Value {
    if required.is_empty() {
        return json!({"type": "object", "additionalProperties": false, "properties": fields});
    }
    json!({"type": "object", "additionalProperties": false, "properties": fields, "required": required})
}

/// The fields and one more.
fn with(mut fields: Value, name: &str, schema: Value) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(name.to_owned(), schema);
    }
    fields
}

/// `{"<resource>": {…}}`
fn wrapped(resource: &str, inner: Value) -> Value {
    let mut fields = Map::new();
    fields.insert(resource.to_owned(), inner);
    body(&[resource], Value::Object(fields))
}

/// A field that may be left out, and what it is then. Said in words: generators of clients demand a field that has a `default`.
fn or(default: impl Into<Value>, schema: Value) -> Value {
    let default = default.into();
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    with(schema, "description", json!(format!("{LEFT_OUT}`{default}`.")))
}

/// An object whose fields are these where they are left out: one to be made, since a change leaves them as they are.
fn with_defaults(mut object: Value, defaults: &Value) -> Value {
    for (name, default) in defaults.as_object().into_iter().flatten() {
        if let Some(field) = object.pointer_mut(&format!("/properties/{name}")) {
            *field = or(default.clone(), field.take());
        }
    }
    object
}

fn nullable(mut schema: Value) -> Value {
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind, "null"]);
    }
    schema
}

fn text(most: usize) -> Value {
    json!({"type": "string", "maxLength": most})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255})
}

fn email() -> Value {
    json!({"type": "string", "format": "email", "minLength": 3, "maxLength": 254})
}

fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn client_kind() -> Value {
    or("direct", json!({"type": ["string", "null"], "enum": ["direct", "mcp", "sdk", null]}))
}

fn whole(least: i32, most: i32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn secret() -> Value {
    json!({"type": "string", "format": "password", "minLength": 1, "maxLength": 1000, "writeOnly": true})
}

/// The one object whose fields the client chooses.
fn custom() -> Value {
    json!({
        "type": ["object", "null"], "maxProperties": 50,
        "propertyNames": {"minLength": 1, "maxLength": 255},
        "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 10_000},
    })
}

fn contact(required: &[&str]) -> Value {
    body(
        required,
        json!({
            "email": email(), "first_name": nullable(text(255)), "last_name": nullable(text(255)),
            "company": nullable(text(255)), "custom": custom(),
        }),
    )
}

fn contact_import() -> Value {
    let rows = json!({"type": "array", "minItems": 1, "maxItems": 50_000, "items": contact(&["email"])});
    body(&["name", "contacts"], json!({"name": name(), "contacts": rows}))
}

fn outreach() -> Value {
    json!({"name": name(), "unique_contacts": flag()})
}

fn pace() -> Value {
    json!({
        "name": name(), "outreach_id": nullable(id()),
        "min_wait_seconds": whole(0, 86_400), "max_wait_seconds": whole(0, 86_400), "verify_email_mx": flag(),
        "bounce_rate_threshold": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        "sequence_steps": steps(),
    })
}

fn steps() -> Value {
    let step = body(
        &["position", "subject", "body_html"],
        json!({
            "position": whole(1, 20), "subject": {"type": "string", "minLength": 1, "maxLength": 998},
            "body_html": {"type": "string", "minLength": 1, "maxLength": 262_144},
            "body_text": nullable(text(262_144)), "delay_minutes": or(0, whole(0, 525_600)),
        }),
    );
    json!({"type": "array", "minItems": 1, "maxItems": 20, "items": step})
}

fn new_campaign() -> Value {
    let credentials = json!({"type": "array", "minItems": 1, "maxItems": 100, "items": credential(true)});
    let fields = with(pace(), "smtp_credentials", credentials);
    let mut campaign = with_defaults(
        body(&["name", "smtp_credentials", "sequence_steps"], fields),
        &json!({
            "min_wait_seconds": 120, "max_wait_seconds": 420, "verify_email_mx": false, "bounce_rate_threshold": 8.0,
        }),
    );
    if let Some(longest) = campaign.pointer_mut("/properties/max_wait_seconds") {
        *longest = with(longest.take(), "description", json!(format!("{LEFT_OUT}{LONGEST_WAIT}.")));
    }
    campaign
}

fn campaign_change() -> Value {
    body(&[], pace())
}

fn credential(new: bool) -> Value {
    let imap = |schema: Value| nullable(schema);
    let required: &[&str] = if new {
        &[
            "smtp_host",
            "smtp_port",
            "smtp_username",
            "smtp_password",
            "from_name",
            "from_email",
            "daily_limit",
        ]
    } else {
        &[]
    };
    let login = json!({"type": "string", "minLength": 1, "maxLength": 1000});
    body(
        required,
        json!({
            "label": nullable(text(255)), "smtp_host": name(), "smtp_port": whole(1, 65_535),
            "smtp_username": login, "smtp_password": secret(), "from_name": name(), "from_email": email(),
            "daily_limit": whole(1, 100_000), "imap_host": imap(name()), "imap_port": imap(whole(1, 65_535)),
            "imap_username": imap(login), "imap_password": imap(secret()),
        }),
    )
}

fn webhook() -> Value {
    json!({
        "url": {"type": "string", "format": "uri", "maxLength": 2048},
        "event_filters": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/EventFilter"}},
    })
}

fn webhook_change() -> Value {
    body(&[], with(webhook(), "disabled_at", json!({"type": "null"})))
}

fn test_send() -> Value {
    let emails = json!({"type": "array", "minItems": 1, "maxItems": 10, "items": email()});
    body(
        &["emails"],
        json!({"emails": emails, "position": nullable(whole(1, 20)), "contact_id": nullable(id())}),
    )
}
