//! When a lane bounces too much: a decision on its days since it was last enabled, within the last seven.

use sea_orm::{ColumnTrait, DbErr, QueryFilter};
use uuid::Uuid;

use super::{
    Column, Disabled, Entity,
    days::{HEALTH_DAYS, standings},
    disable,
};
use crate::{
    clock::Timestamp,
    errors::{ApiResult, Code},
    models::{campaigns, states::DisabledReason},
    tenancy::{Scope, SystemScope},
};

/// Fewer messages prove nothing.
const LEAST: i64 = 20;

/// Lanes of one look.
const AT_ONCE: i64 = 100;

const DAY_MICROS: i64 = 86_400_000_000;

/// Lanes that bounce more than their campaign allows, with their accounts. It looks at days with a bounce only, and so
/// costs what the last seven days bounced, however long the history. `ix_credential_days_bounced`
///
/// # Errors
/// What the database refuses.
pub async fn sick(system: &SystemScope, now: Timestamp) -> Result<Vec<(Uuid, Uuid)>, DbErr> {
    let sql = format!(
        "SELECT c.account_id, c.id FROM credential_days d \
         JOIN smtp_credentials c ON c.id = d.smtp_credential_id JOIN campaigns k ON k.id = c.campaign_id \
         WHERE d.smtp_credential_id IN (SELECT b.smtp_credential_id FROM credential_days b \
             WHERE b.bounced > 0 AND b.day > $1) \
         AND d.day > $1 AND d.day >= c.enabled_at / {DAY_MICROS} \
         AND c.disabled_at IS NULL AND c.deleted_at IS NULL AND k.deleted_at IS NULL \
         GROUP BY c.account_id, c.id, k.bounce_rate_threshold \
         HAVING sum(d.sends) >= {LEAST} AND sum(d.bounced) * 100.0 > k.bounce_rate_threshold * sum(d.sends) \
         ORDER BY c.id LIMIT {AT_ONCE}"
    );
    let rows = system.query(&sql, [(now.day() - HEALTH_DAYS).into()]).await?;
    rows.iter().map(|row| Ok((row.try_get("", "account_id")?, row.try_get("", "id")?))).collect()
}

/// Disables a lane if it still bounces too much, under the lock of its campaign: it may have been enabled anew.
///
/// # Errors
/// What the database refuses.
pub async fn disable_if_sick(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<Option<Disabled>> {
    let find = || scope.find::<Entity>().filter(Column::Id.eq(id));
    let Some(known) = find().one(&scope.db()).await? else { return Ok(None) };
    let campaign = match campaigns::lock(scope, known.campaign_id).await {
        Err(error) if error.code == Code::CampaignNotFound => return Ok(None),
        found => found?,
    };
    let Some(lane) = find().one(&scope.db()).await? else { return Ok(None) };
    let standing = standings(scope, std::slice::from_ref(&lane), now).await?.remove(&id).unwrap_or_default();
    if standing.sent_or_bounced < LEAST || standing.bounce_rate() <= campaign.bounce_rate_threshold {
        return Ok(None);
    }
    disable(scope, id, DisabledReason::BounceRate, now).await
}
