//! One event for one webhook, and its attempts. The payload is stored once and sent as it is, every time.

pub mod again;

use std::time::Duration;

use sea_orm::{ColumnTrait, DbErr, FromQueryResult, QueryFilter, Select, sea_query::Expr};
use uuid::Uuid;

pub use super::_entities::{
    webhook_attempts::Model as Attempt,
    webhook_deliveries::{Column, Entity, Model},
};
use super::{
    sql::{holes, uuids},
    states::WebhookState,
    webhooks::{self, disabled_error},
};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    paging::Page,
    tenancy::{Scope, SystemScope, TenantEntity, tenant_entity},
};

tenant_entity!(webhook_deliveries, NotFound);

/// How many attempts are shown.
const SHOWN_ATTEMPTS: i64 = 100;
/// How long a delivery is kept, whatever became of it: its payload names a contact, and its attempts end within days.
pub const KEEP: Duration = Duration::from_secs(30 * 86_400);

/// A page of a webhook's deliveries, newest first.
///
/// # Errors
/// `webhook_not_found`.
pub async fn page(scope: &Scope, webhook_id: Uuid, page: Page) -> ApiResult<Vec<Model>> {
    scope.get::<webhooks::Entity>(webhook_id).await?;
    Ok(page_of(scope, webhook_id, page).all(&scope.db()).await?)
}

/// The query of [`page`]: `ix_webhook_deliveries_page`.
pub fn page_of(scope: &Scope, webhook_id: Uuid, page: Page) -> Select<Entity> {
    let rows = scope.find::<Entity>().filter(Column::WebhookId.eq(webhook_id));
    page.apply(rows, Column::Id)
}

/// A delivery of a webhook, with its last attempts, oldest first.
///
/// # Errors
/// `webhook_not_found`, `not_found`.
pub async fn find(scope: &Scope, webhook_id: Uuid, id: Uuid) -> ApiResult<(Model, Vec<Attempt>)> {
    scope.get::<webhooks::Entity>(webhook_id).await?;
    let row = of_webhook(scope, webhook_id, id).await?;
    // The primary key.
    let sql = "SELECT * FROM webhook_attempts WHERE account_id = $1 AND webhook_delivery_id = $2 \
               ORDER BY attempt DESC LIMIT $3";
    let found = scope.query(sql, [id.into(), SHOWN_ATTEMPTS.into()]).await?;
    let attempts = found.iter().rev().map(|row| Attempt::from_query_result(row, ""));
    Ok((row, attempts.collect::<Result<_, _>>()?))
}

/// The delivery of that id, if it was stored.
///
/// # Errors
/// What the database refuses.
pub async fn find_stored(scope: &Scope, id: Uuid) -> ApiResult<Option<Model>> {
    Ok(scope.find::<Entity>().filter(Column::Id.eq(id)).one(&scope.db()).await?)
}

async fn of_webhook(scope: &Scope, webhook_id: Uuid, id: Uuid) -> ApiResult<Model> {
    let row = scope.find::<Entity>().filter(Column::WebhookId.eq(webhook_id)).filter(Column::Id.eq(id));
    row.one(&scope.db()).await?.ok_or_else(|| ApiError::new(Entity::MISSING))
}

/// Has a delivery sent again, now, and with all its tries anew; its id and payload stay.
///
/// # Errors
/// `webhook_not_found`, `not_found`; `unprocessable` while the webhook is disabled.
pub async fn redeliver(scope: &Scope, webhook_id: Uuid, id: Uuid, now: Timestamp) -> ApiResult<Model> {
    let webhook = webhooks::lock(scope, webhook_id).await?;
    of_webhook(scope, webhook_id, id).await?;
    if webhook.disabled_at.is_some() {
        return Err(disabled_error());
    }
    scope
        .update::<Entity>()
        .col_expr(Column::State, Expr::value(WebhookState::Pending))
        .col_expr(Column::Tries, Expr::value(0))
        .col_expr(Column::DueAt, Expr::value(now))
        .filter(Column::Id.eq(id))
        .exec(&scope.db())
        .await?;
    of_webhook(scope, webhook_id, id).await
}

/// Stores a delivery together with the one attempt that it had, as long as its webhook is there.
///
/// # Errors
/// `webhook_not_found`.
pub async fn store_ended(scope: &Scope, row: Model, attempt: &Attempt) -> ApiResult<()> {
    webhooks::lock(scope, row.webhook_id).await?;
    scope.insert::<Entity>(row).await?;
    let sql = "INSERT INTO webhook_attempts (account_id, webhook_delivery_id, attempt, status_code, error, \
               duration_ms, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = [
        attempt.webhook_delivery_id.into(),
        attempt.attempt.into(),
        attempt.status_code.into(),
        attempt.error.clone().into(),
        attempt.duration_ms.into(),
        attempt.created_at.micros().into(),
    ];
    scope.execute(sql, values).await?;
    Ok(())
}

/// Removes up to `batch` deliveries, with their attempts, that are older than [`KEEP`], and says how many: call again
/// while it is `batch`. Ids sort by creation, so the primary key finds them.
///
/// # Errors
/// What the database refuses.
pub async fn purge(system: &SystemScope, now: Timestamp, batch: u32) -> Result<u64, DbErr> {
    let sql = "SELECT id FROM webhook_deliveries WHERE id < $1 ORDER BY id LIMIT $2";
    let before = first_id_at(now.minus(KEEP));
    let rows = system.query(sql, [before.into(), i64::from(batch).into()]).await?;
    let ids = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<Uuid>, _>>()?;
    drop_rows(system, &ids).await?;
    Ok(ids.len() as u64)
}

/// What lies before every id that was made at that time or later: its first 48 bits are milliseconds (RFC 9562,
/// section 5.7).
fn first_id_at(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(at.micros() / 1_000).unwrap_or(0) << 80)
}

/// Removes a batch of what belonged to deleted webhooks, then the webhooks. `false`: nothing is left.
///
/// # Errors
/// What the database refuses.
pub async fn remove_some(system: &SystemScope, batch: i64) -> Result<bool, DbErr> {
    // ix_webhooks_deleted, ix_webhook_deliveries_page
    let sql = "SELECT d.id FROM webhooks h JOIN webhook_deliveries d ON d.account_id = h.account_id \
               AND d.webhook_id = h.id WHERE h.deleted_at IS NOT NULL LIMIT $1";
    let rows = system.query(sql, [batch.into()]).await?;
    let ids = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<Uuid>, _>>()?;
    drop_rows(system, &ids).await?;
    if !ids.is_empty() {
        return Ok(true);
    }
    let sql =
        "DELETE FROM webhooks WHERE id IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL LIMIT $1)";
    Ok(system.execute(sql, [batch.into()]).await? > 0)
}

async fn drop_rows(system: &SystemScope, ids: &[Uuid]) -> Result<(), DbErr> {
    if ids.is_empty() {
        return Ok(());
    }
    // The first by its primary key, which begins with the account: hence the look at the deliveries.
    let list = holes(1, ids.len());
    let attempts = format!(
        "DELETE FROM webhook_attempts WHERE (account_id, webhook_delivery_id) IN \
         (SELECT account_id, id FROM webhook_deliveries WHERE id IN ({list}))"
    );
    system.execute(&attempts, uuids(ids)).await?;
    let deliveries = format!("DELETE FROM webhook_deliveries WHERE id IN ({list})");
    system.execute(&deliveries, uuids(ids)).await.map(drop)
}
