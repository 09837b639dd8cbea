//! What is sent to webhooks: the payload of every event, and the `webhooks` section of the document.

use serde_json::{Map, Value, json};

/// Events about an enrollment.
const OF_ENROLLMENTS: [&str; 5] = [
    "enrollment.sent",
    "enrollment.opened",
    "enrollment.replied",
    "enrollment.bounced",
    "enrollment.unsubscribed",
];

/// The schemas of the payloads, and of what a filter can name.
pub(super) fn schemas() -> Map<String, Value> {
    let kinds = ["EnrollmentEvent", "CredentialDisabledEvent", "CampaignPausedEvent", "TestEvent"];
    let refs: Vec<Value> =
        kinds.iter().map(|kind| json!({"$ref": format!("#/components/schemas/{kind}")})).collect();
    let mut filters = vec!["*"];
    filters.extend(OF_ENROLLMENTS);
    filters.extend(["credential.disabled", "campaign.paused"]);
    [
        ("Event", json!({"oneOf": refs, "description": "The body that a webhook gets."})),
        ("EventFilter", json!({"type": "string", "enum": filters})),
        ("EnrollmentEvent", event(&OF_ENROLLMENTS, &enrollment())),
        ("CredentialDisabledEvent", event(&["credential.disabled"], &credential())),
        ("CampaignPausedEvent", event(&["campaign.paused"], &campaign())),
        ("TestEvent", event(&["webhook.test"], &object(json!({"webhook_id": id()})))),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

/// One entry per event: what is posted and what is expected in answer.
pub(super) fn webhooks() -> Map<String, Value> {
    let one = |name: &str, schema: &str| {
        let shown = json!({"post": {
            "operationId": format!("receive_{}", name.replace('.', "_")), "tags": ["Webhooks"], "security": [],
            "summary": format!("`{name}` happened"),
            "description": "Signed by the Standard Webhooks specification. Answer with any 2xx within 15 seconds; \
                an event may come more than once, always with the same `webhook-id`.",
            "parameters": [
                header("webhook-id", "The delivery's id, the same on every attempt."),
                header("webhook-timestamp", "When the attempt was made, in seconds since 1970."),
                header("webhook-signature", "`v1,` and the Base64 HMAC-SHA256 of `id.timestamp.body`."),
            ],
            "requestBody": {"required": true, "content": {"application/json": {
                "schema": {"$ref": format!("#/components/schemas/{schema}")},
            }}},
            "responses": {
                "2XX": {"description": "Received."},
                "410": {"description": "Gone: the webhook is disabled at once."},
            },
        }});
        (name.to_owned(), shown)
    };
    let enrollments = OF_ENROLLMENTS.iter().map(|name| one(name, "EnrollmentEvent"));
    enrollments
        .chain([
            one("credential.disabled", "CredentialDisabledEvent"),
            one("campaign.paused", "CampaignPausedEvent"),
            one("webhook.test", "TestEvent"),
        ])
        .collect()
}

fn header(name: &str, text: &str) -> Value {
    json!({"name": name, "in": "header", "required": true, "description": text, "schema": {"type": "string"}})
}

fn event(names: &[&str], inner: &Value) -> Value {
    object(json!({
        "id": id(), "type": {"type": "string", "enum": names}, "created_at": time(), "account_id": id(),
        "data": inner,
    }))
}

/// An object that has exactly these fields.
#[expect(clippy::needless_pass_by_value, reason = "callers write it in place")]
fn object(fields: Value) -> Value {
    let names: Vec<String> = fields.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
    json!({"type": "object", "required": names, "properties": fields, "additionalProperties": false})
}

fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn perhaps(mut schema: Value) -> Value {
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind, "null"]);
    }
    schema
}

fn enrollment() -> Value {
    object(json!({
        "enrollment_id": id(), "contact_id": id(), "contact_email": {"type": "string"}, "campaign_id": id(),
        "position": {"type": ["integer", "null"]},
        "status": {"type": "string", "enum": ["pending", "sent", "opened", "replied", "bounced", "unsubscribed"]},
        "sent_at": perhaps(time()), "opened_at": perhaps(time()), "replied_at": perhaps(time()),
        "unsubscribed_at": perhaps(time()), "bounce_reason": {"type": ["string", "null"]},
    }))
}

fn credential() -> Value {
    object(json!({
        "smtp_credential_id": id(), "campaign_id": id(), "from_email": {"type": "string"},
        "reason": {"type": ["string", "null"], "enum": ["auth", "policy", "bounce_rate", null]},
        "bounce_rate": {"type": "number"}, "bounce_rate_threshold": {"type": "number"},
        "disabled_at": perhaps(time()),
    }))
}

fn campaign() -> Value {
    object(json!({
        "campaign_id": id(), "name": {"type": "string"},
        "reason": {"type": "string", "enum": ["user", "no_enabled_credential"]}, "paused_at": time(),
    }))
}
