//! Tables that `finish` reads: the words of text fields, the shapes that no struct has, and what fields mean.

use serde_json::{Value, json};

/// What logging in to a mail server can fail with.
const TROUBLE: &[&str] =
    &["dns_failed", "connect_failed", "tls_failed", "auth_failed", "protocol_failed", "timeout"];

/// Schema, field and the words that it can have.
const CHOICES: &[(&str, &str, &[&str])] = &[
    ("Check", "error", TROUBLE),
    ("Credential", "disabled_reason", &["auth", "policy", "bounce_rate"]),
    ("Credential", "imap_error", TROUBLE),
    ("Delivery", "state", &["queued", "sending", "deferred", "sent", "bounced", "skipped", "uncertain"]),
    ("Enabled", "status", &["enabled"]),
    ("Gone", "status", &["deleted", "revoked"]),
    ("Status", "database", &["ok"]),
    ("Status", "status", &["ok"]),
    ("TestResult", "status", &["sent", "failed"]),
];

/// Names of fields and what they mean, wherever they stand.
const MEANINGS: &[(&str, &str)] = &[
    ("account_id", "The account."),
    ("attempt", "Which attempt, counted from 1."),
    ("attempts", "Attempts so far."),
    ("batch_number", "The batch; batches go out in their order, 0 first."),
    ("batch_size", "Contacts in a batch."),
    ("bounce_rate", "Percent that bounced, one decimal; 0.0 over nothing."),
    ("bounce_rate_threshold", "Percent of bounces above which a credential is disabled."),
    ("bounce_reason", "What the receiving server said."),
    ("campaign_id", "The campaign."),
    ("client_kind", "What uses the key."),
    ("company", "The contact's company, for `{{company}}`."),
    ("consecutive_failures", "Failed attempts since the last success."),
    ("contact_count", "Contacts that it has now."),
    ("contact_id", "The contact."),
    ("contact_import_id", "The import."),
    ("created_at", "When it was made."),
    ("current_step", "The position of the last step that was accepted; 0 before the first."),
    ("current_period", "The period that sends are counted in."),
    ("custom", "Fields of your own for merge tags: `{{custom.<key>}}`."),
    ("daily_limit", "First messages that the credential sends in a UTC day at most."),
    ("delay_minutes", "Minutes to wait after the step before."),
    ("disabled_at", "When it was disabled; null while it is enabled."),
    ("disabled_reason", "Why it was disabled."),
    ("dispatched_at", "When it was released to be sent."),
    ("email", "The address."),
    ("enrollment_id", "The enrollment."),
    ("estimated_finish_at", "When the last message is expected to go out."),
    ("event_filters", "Events that are sent there; `*` stands for all."),
    ("event_type", "What happened."),
    ("end", "The first moment after it."),
    ("first_name", "The contact's first name, for `{{first_name}}`."),
    ("first_send_at", "When the first message is expected to go out."),
    ("from_email", "The sender's address."),
    ("from_name", "The sender's name."),
    ("history", "The last twelve periods that have ended and had a send, the last one first."),
    ("id", "The id, a UUID."),
    ("invalid", "Rows whose address is not valid, the first 100."),
    ("invalid_count", "Rows whose address is not valid."),
    ("label", "A name for people."),
    ("last_name", "The contact's last name, for `{{last_name}}`."),
    ("last_used_at", "When it was last used, to the minute."),
    ("max_wait_seconds", "The longest wait between two messages of a credential."),
    ("message_id", "The mail's `Message-ID`."),
    ("min_wait_seconds", "The shortest wait between two messages of a credential."),
    ("monthly_limit", "The most sends of a period."),
    ("name", "A name for people."),
    ("next_send_at", "When its next message is due; null when nothing is."),
    ("outreach_id", "The group that the campaign belongs to."),
    ("period_end", "The first moment after the period."),
    ("period_start", "The first moment of the period."),
    ("plaintext", "The whole key. It is shown once."),
    ("plan_slug", "The account's plan."),
    ("position", "The step's position, counted from 1."),
    ("prefix", "The first 12 characters of the key."),
    ("processed", "Contacts that were looked at so far."),
    ("record_count", "Contacts that the import stored."),
    ("secret", "Signs what is sent there. It is shown once."),
    ("sends_count", "Messages that were accepted."),
    ("sent_today", "First messages sent in this UTC day."),
    ("skipped_count", "Contacts that were left out."),
    ("smtp_credential_id", "The credential that sends."),
    ("smtp_reply", "The server's reply, cut to 500 characters."),
    ("start", "Its first moment."),
    ("stripe_customer_id", "What Stripe knows the account as; null while it does not."),
    ("stripe_price_id", "What the plan is bought as at Stripe; null for one that is not sold."),
    ("stripe_subscription_id", "The subscription that the plan follows; null where none does."),
    ("tier", "The plan's place among the others, 0 first."),
    ("uncertain", "Messages of which nobody knows whether they were accepted."),
    (
        "unique_contacts",
        "Whether a contact is enrolled in one of the group's campaigns only. Looked at when contacts are enrolled: who was enrolled before stays.",
    ),
    ("unsubscribed_at", "When the recipient unsubscribed."),
    ("url", "Where events are sent."),
    ("verify_email_mx", "Whether contacts whose domain takes no mail are skipped."),
    ("waiting_reason", "What it waits for, when it is not just the delay of its step."),
];

/// The words of a text field of a schema.
pub(super) fn choice(schema: &str, field: &str) -> Option<&'static [&'static str]> {
    CHOICES.iter().find(|one| (one.0, one.1) == (schema, field)).map(|one| one.2)
}

/// What a field of this name means.
pub(super) fn meaning(field: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|one| one.0 == field).map(|one| one.1)
}

/// The shape of a field that is stored as JSON.
pub(super) fn shape(schema: &str, field: &str) -> Option<Value> {
    match (schema, field) {
        ("Contact" | "ContactDetail" | "PreviewContact", "custom") => Some(json!({
            "type": "object", "maxProperties": 50,
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        })),
        ("Webhook" | "CreatedWebhook", "event_filters") => Some(json!({
            "type": "array", "items": {"$ref": "#/components/schemas/EventFilter"},
        })),
        ("WebhookDeliveryDetail", "payload") => Some(json!({"$ref": "#/components/schemas/Event"})),
        _ => None,
    }
}
