//! Webhooks and their deliveries as clients see them.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    crypto::Secret,
    models::{
        states::EventType,
        webhook_deliveries::{self, Attempt},
        webhooks::Model,
    },
};

/// A webhook.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Webhook {
    id: Uuid,
    url: String,
    #[schema(value_type = Vec<String>)]
    event_filters: Value,
    disabled_at: Option<Timestamp>,
    consecutive_failures: i32,
    created_at: Timestamp,
}

impl From<Model> for Webhook {
    fn from(row: Model) -> Self {
        let Model {
            id,
            account_id: _,
            url,
            event_filters,
            secret: _,
            consecutive_failures,
            failing_since: _,
            disabled_at,
            holder: _,
            created_at,
            deleted_at: _,
        } = row;
        Self { id, url, event_filters, disabled_at, consecutive_failures, created_at }
    }
}

/// A new webhook, with the secret that is shown once.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedWebhook)]
pub struct NewWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    secret: String,
}

impl NewWebhook {
    /// Of the row and its secret in clear.
    pub fn new(row: Model, secret: &Secret) -> Self {
        Self { webhook: row.into(), secret: secret.expose().to_owned() }
    }
}

/// Another secret, shown once.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Rotated {
    id: Uuid,
    secret: String,
}

impl Rotated {
    /// Of the webhook and its secret in clear.
    pub fn new(id: Uuid, secret: &Secret) -> Self {
        Self { id, secret: secret.expose().to_owned() }
    }
}

/// A delivery with its last attempt.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct Delivery {
    id: Uuid,
    event_type: EventType,
    attempt: i32,
    status_code: Option<i32>,
    error: Option<String>,
    delivered_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl Delivery {
    /// The delivery without its payload, and the payload.
    fn split(row: webhook_deliveries::Model) -> (Self, String) {
        let webhook_deliveries::Model {
            id,
            account_id: _,
            webhook_id: _,
            event_type,
            payload,
            state: _,
            tries: _,
            attempts,
            due_at: _,
            status_code,
            error,
            delivered_at,
            created_at,
        } = row;
        (Self { id, event_type, attempt: attempts, status_code, error, delivered_at, created_at }, payload)
    }
}

impl From<webhook_deliveries::Model> for Delivery {
    fn from(row: webhook_deliveries::Model) -> Self {
        Self::split(row).0
    }
}

/// A delivery on its own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDeliveryDetail)]
pub struct DeliveryDetail {
    #[serde(flatten)]
    delivery: Delivery,
    #[schema(value_type = Object)]
    payload: Value,
    attempts: Vec<DeliveryAttempt>,
}

/// One attempt.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct DeliveryAttempt {
    attempt: i32,
    status_code: Option<i32>,
    error: Option<String>,
    duration_ms: i64,
    created_at: Timestamp,
}

impl DeliveryDetail {
    /// Of the delivery and its attempts.
    pub fn new(row: webhook_deliveries::Model, attempts: Vec<Attempt>) -> Self {
        let (delivery, payload) = Delivery::split(row);
        // It was written by us.
        let payload = serde_json::from_str(&payload).unwrap_or(Value::Null);
        Self { delivery, payload, attempts: attempts.into_iter().map(DeliveryAttempt::from).collect() }
    }
}

impl From<Attempt> for DeliveryAttempt {
    fn from(row: Attempt) -> Self {
        let Attempt {
            account_id: _,
            webhook_delivery_id: _,
            attempt,
            status_code,
            error,
            duration_ms,
            created_at,
        } = row;
        Self { attempt, status_code, error, duration_ms, created_at }
    }
}
