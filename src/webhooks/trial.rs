//! `webhook.test`: one attempt at once, on its owner's behalf. It is stored like any other and never tried again, and
//! weighs nothing in how the endpoint is doing.

use bytes::Bytes;
use uuid::Uuid;

use super::attempt::attempt;
use crate::{
    clock::Timestamp,
    db::Db,
    errors::{ApiError, ApiResult},
    models::{
        states::WebhookState,
        webhook_deliveries::{self, Attempt},
        webhooks::{self, outbox},
    },
    state::AppState,
    tenancy::Scope,
    tenancy::SystemScope,
};

/// Sends a test under this id and stores what became of it. One that was stored under it before is not sent again.
///
/// # Errors
/// `webhook_not_found` when it was deleted meanwhile; what the database refuses.
pub async fn send(
    scope: &Scope,
    state: &AppState,
    webhook: &webhooks::Model,
    id: Uuid,
) -> ApiResult<webhook_deliveries::Model> {
    if let Some(stored) = webhook_deliveries::find_stored(scope, id).await? {
        return Ok(stored);
    }
    let secret = webhooks::open_secret(&state.sealer, webhook.account_id, webhook.id, &webhook.secret)
        .map_err(ApiError::internal)?;
    let row = outbox::test_delivery(webhook.account_id, webhook.id, id, Timestamp::now())?;
    let payload = Bytes::from(row.payload.clone());
    let attempted = attempt(&state.http, &webhook.url, &secret, id, payload).await;
    let succeeded = attempted.succeeded();
    let row = webhook_deliveries::Model {
        state: if succeeded { WebhookState::Delivered } else { WebhookState::Failed },
        tries: 1,
        attempts: 1,
        status_code: attempted.status_code,
        error: attempted.error.map(str::to_owned),
        delivered_at: succeeded.then(|| attempted.began.plus(attempted.duration)),
        ..row
    };
    let attempt = Attempt {
        account_id: row.account_id,
        webhook_delivery_id: id,
        attempt: 1,
        status_code: attempted.status_code,
        error: row.error.clone(),
        duration_ms: attempted.duration_ms(),
        created_at: attempted.began,
    };
    store(&state.db, &row, &attempt).await?;
    Ok(row)
}

async fn store(db: &Db, row: &webhook_deliveries::Model, attempt: &Attempt) -> ApiResult<()> {
    SystemScope::in_transaction(db, async |system| {
        webhook_deliveries::store_ended(&system.account(row.account_id), row.clone(), attempt).await
    })
    .await
}
