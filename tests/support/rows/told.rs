//! A webhook and what it was told.

use ampout::{
    clock::new_id,
    models::{
        _entities::{webhook_attempts, webhook_deliveries, webhooks},
        states::{EventType, WebhookState},
    },
};
use serde_json::json;
use uuid::Uuid;

use super::THEN;

pub fn webhook(account_id: Uuid) -> webhooks::Model {
    webhooks::Model {
        id: new_id(),
        account_id,
        url: "http://127.0.0.1:9/hook".into(),
        event_filters: json!(["enrollment.replied"]),
        secret: vec![1, 2, 3],
        consecutive_failures: 2,
        failing_since: Some(THEN),
        disabled_at: None,
        holder: Some(new_id()),
        created_at: THEN,
        deleted_at: None,
    }
}

/// What an endpoint was told.
fn payload(account_id: Uuid) -> String {
    json!({
        "id": new_id(), "type": "enrollment.replied", "created_at": "2026-11-18T11:06:40Z", "account_id": account_id,
        "data": {
            "enrollment_id": new_id(), "contact_id": new_id(), "contact_email": "ada@example.com",
            "campaign_id": new_id(), "position": 1, "status": "replied", "sent_at": "2026-11-18T11:06:40Z",
            "opened_at": null, "replied_at": "2026-11-18T11:06:40Z", "unsubscribed_at": null, "bounce_reason": null,
        },
    })
    .to_string()
}

pub fn webhook_delivery(webhook: &webhooks::Model) -> webhook_deliveries::Model {
    webhook_deliveries::Model {
        id: new_id(),
        account_id: webhook.account_id,
        webhook_id: webhook.id,
        event_type: EventType::EnrollmentReplied,
        payload: payload(webhook.account_id),
        state: WebhookState::Pending,
        tries: 1,
        attempts: 2,
        due_at: THEN,
        status_code: Some(500),
        error: Some("http_status".into()),
        delivered_at: Some(THEN),
        created_at: THEN,
    }
}

pub fn webhook_attempt(delivery: &webhook_deliveries::Model) -> webhook_attempts::Model {
    webhook_attempts::Model {
        account_id: delivery.account_id,
        webhook_delivery_id: delivery.id,
        attempt: 1,
        status_code: Some(500),
        error: Some("http_status".into()),
        duration_ms: 12,
        created_at: THEN,
    }
}
