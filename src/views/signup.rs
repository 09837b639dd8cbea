//! What `POST /signup` answers.

use serde::Serialize;
use uuid::Uuid;

use crate::models::accounts;

/// A new account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SignedUp {
    account_id: Uuid,
    plan_slug: &'static str,
    api_key: FirstKey,
}

/// Its first key, shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FirstKey {
    id: Uuid,
    prefix: String,
    plaintext: String,
}

impl From<accounts::SignedUp> for SignedUp {
    fn from(made: accounts::SignedUp) -> Self {
        let accounts::SignedUp { account_id, plan_slug, key, plaintext } = made;
        let api_key = FirstKey { id: key.id, prefix: key.prefix, plaintext: plaintext.expose().to_owned() };
        Self { account_id, plan_slug, api_key }
    }
}
