//! What `GET /account` answers.

use serde::Serialize;
use uuid::Uuid;

use crate::{clock::Timestamp, crypto::Purpose, models::accounts, state::AppState};

/// The account of a key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Account {
    id: Uuid,
    email: String,
    name: Option<String>,
    plan_slug: String,
    inbound_webhooks: InboundWebhooks,
    created_at: Timestamp,
}

/// Where mail providers may report to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct InboundWebhooks {
    smtp2go: String,
}

impl Account {
    /// Shows an account, with links that carry its own token.
    pub fn new(account: accounts::Account, state: &AppState) -> Self {
        let accounts::Account { id, email, name, plan_slug, created_at } = account;
        let token = state.link_keys.sign(Purpose::InboundSmtp2go, id.as_bytes());
        let smtp2go = format!("{}/inbound/smtp2go/{token}", state.settings.public_url);
        Self { id, email, name, plan_slug, inbound_webhooks: InboundWebhooks { smtp2go }, created_at }
    }
}
