//! Deliveries as their account sees them.

use serde::Serialize;
use uuid::Uuid;

use crate::{clock::Timestamp, models::deliveries::Model};

/// A delivery.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    id: Uuid,
    enrollment_id: Uuid,
    position: i32,
    state: &'static str,
    attempts: i32,
    message_id: String,
    smtp_reply: Option<String>,
    sent_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Model> for Delivery {
    fn from(row: Model) -> Self {
        let Model {
            id,
            account_id: _,
            campaign_id: _,
            enrollment_id,
            smtp_credential_id: _,
            position,
            state,
            attempts,
            resend: _,
            message_id,
            provider_message_id: _,
            smtp_reply,
            token: _,
            process_id: _,
            reserved_period: _,
            reserved_day: _,
            sent_at,
            created_at,
            heard: _,
        } = row;
        let state = state.shown();
        Self { id, enrollment_id, position, state, attempts, message_id, smtp_reply, sent_at, created_at }
    }
}
