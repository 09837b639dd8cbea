//! API keys as their owner sees them.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    crypto::ApiKeyPlaintext,
    models::{api_keys::Model, states::ClientKind},
};

/// A key without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    id: Uuid,
    prefix: String,
    label: String,
    client_kind: ClientKind,
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Model> for ApiKey {
    fn from(row: Model) -> Self {
        let Model {
            id,
            account_id: _,
            digest: _,
            prefix,
            label,
            client_kind,
            last_used_at,
            created_at,
            revoked_at: _,
        } = row;
        Self { id, prefix, label, client_kind, last_used_at, created_at }
    }
}

/// A new key with its secret, shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IssuedApiKey {
    #[serde(flatten)]
    key: ApiKey,
    plaintext: String,
}

impl IssuedApiKey {
    /// Shows the secret of a key that was just made.
    pub fn new(row: Model, plaintext: &ApiKeyPlaintext) -> Self {
        Self { key: row.into(), plaintext: plaintext.expose().to_owned() }
    }
}
