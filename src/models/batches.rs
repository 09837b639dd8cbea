//! Batches: what one dispatch releases. A batch is open until it is dispatched, and takes enrollments only then.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sea_orm::{ColumnTrait, QueryFilter, Value};
use uuid::Uuid;

pub use super::_entities::batches::{ActiveModel, Column, Entity, Model};
use super::{campaigns, enrollments::Share, periods, smtp_credentials, states::CampaignStatus};
use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult, Code},
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(batches, NotFound);

/// How many enrollments of deleted imports a dispatch leaves out of its count.
const MOST_HIDDEN: i64 = 10_000;

/// What a dispatch released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The campaign.
    pub campaign_id: Uuid,
    /// Enrollments.
    pub count: i64,
    /// From when on their first steps may go.
    pub due_at: Timestamp,
}

/// The highest batch number of a campaign; 0 without batches, so that bulk enrolling begins with 1.
///
/// # Errors
/// What the database refuses.
pub async fn highest_number(scope: &Scope, campaign_id: Uuid) -> ApiResult<i32> {
    // ix_batches_campaign, read from its end
    let sql = "SELECT batch_number FROM batches WHERE account_id = $1 AND campaign_id = $2 \
               ORDER BY batch_number DESC LIMIT 1";
    let row = scope.query_one(sql, [campaign_id.into()]).await?;
    Ok(row.map(|row| row.try_get("", "batch_number")).transpose()?.unwrap_or_default())
}

/// The open batch of a number, made where it is missing. The campaign must be locked.
///
/// # Errors
/// What the database refuses.
pub async fn open(scope: &Scope, campaign_id: Uuid, number: i32, now: Timestamp) -> ApiResult<Uuid> {
    // uq_batches_open
    let sql = "SELECT id FROM batches WHERE account_id = $1 AND campaign_id = $2 AND batch_number = $3 \
               AND dispatched_at IS NULL";
    if let Some(row) = scope.query_one(sql, [campaign_id.into(), number.into()]).await? {
        return Ok(row.try_get("", "id")?);
    }
    let row = empty(scope, campaign_id, number, now);
    scope.insert::<Entity>(row.clone()).await?;
    Ok(row.id)
}

/// The open batches for shares, in their order; those that begin have numbers that nobody has yet.
///
/// # Errors
/// What the database refuses.
pub async fn open_shares(
    scope: &Scope,
    campaign_id: Uuid,
    shares: &[Share],
    now: Timestamp,
) -> ApiResult<Vec<Uuid>> {
    let (mut ids, mut new) = (Vec::with_capacity(shares.len()), Vec::new());
    for share in shares {
        if share.begins {
            let row = empty(scope, campaign_id, share.number, now);
            ids.push(row.id);
            new.push(row);
        } else {
            ids.push(open(scope, campaign_id, share.number, now).await?);
        }
    }
    scope.insert_all::<Entity>(new).await?;
    Ok(ids)
}

fn empty(scope: &Scope, campaign_id: Uuid, batch_number: i32, now: Timestamp) -> Model {
    Model {
        id: new_id(),
        account_id: scope.account_id(),
        campaign_id,
        batch_number,
        dispatched_at: None,
        due_at: None,
        drained: false,
        undispatched: 0,
        pending: 0,
        sent: 0,
        opened: 0,
        replied: 0,
        bounced: 0,
        unsubscribed: 0,
        created_at: now,
    }
}

/// Releases the open batches of a campaign, or those of one number, whatever their size: only batches, the campaign
/// and its lanes are touched, never an enrollment. The campaign must be locked.
///
/// # Errors
/// `no_pending_enrollments`, `plan_limit_reached`, or `unprocessable` when the campaign is paused
/// or no credential is enabled.
pub async fn dispatch(
    scope: &Scope,
    campaign: &campaigns::Model,
    number: Option<i32>,
    now: Timestamp,
) -> ApiResult<Dispatched> {
    let campaign_id = campaign.id;
    let count = undispatched(scope, campaign_id, number).await?;
    if count == 0 {
        return Err(ApiError::new(Code::NoPendingEnrollments));
    }
    let period = periods::current(scope, now).await?;
    if period.is_used_up() {
        return Err(period.limit_reached());
    }
    if campaign.status == CampaignStatus::Paused {
        return Err(ApiError::unprocessable("The campaign is paused"));
    }
    let due_at = now.plus(first_delay(scope, campaign_id).await?);
    if smtp_credentials::enabled_of(scope, campaign_id).await?.is_empty() {
        return Err(ApiError::unprocessable("The campaign has no enabled SMTP credential"));
    }
    smtp_credentials::wake_lanes(scope, campaign_id, due_at).await?;
    release(scope, campaign_id, number, now, due_at).await?;
    let sql = "UPDATE campaigns SET status = 'active' WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [campaign_id.into()]).await?;
    Ok(Dispatched { campaign_id, count, due_at })
}

/// What a dispatch of a campaign, or of the batches of one number, would release: without what is hidden.
///
/// # Errors
/// What the database refuses.
pub async fn undispatched(scope: &Scope, campaign_id: Uuid, number: Option<i32>) -> ApiResult<i64> {
    // ix_batches_campaign
    let sql = "SELECT CAST(COALESCE(SUM(undispatched), 0) AS bigint) AS count FROM batches \
               WHERE account_id = $1 AND campaign_id = $2 AND dispatched_at IS NULL \
               AND (CAST($3 AS integer) IS NULL OR batch_number = $3)";
    let row = scope.query_one(sql, [campaign_id.into(), Value::from(number)]).await?;
    let counted: i64 = row.map(|row| row.try_get("", "count")).transpose()?.unwrap_or_default();
    if counted == 0 { Ok(0) } else { Ok(counted - hidden(scope, campaign_id, number).await?) }
}

/// Undispatched enrollments of imports that were deleted and not yet removed: they are still in the batches' counts.
/// The look is bounded; past the bound a dispatch says more than it released, of what cannot be sent anyway.
async fn hidden(scope: &Scope, campaign_id: Uuid, number: Option<i32>) -> ApiResult<i64> {
    // ix_contact_imports_hidden. Mostly there is none, and PostgreSQL would read all contacts to find that out.
    // One that is not complete was never enrolled.
    let sql = "SELECT id FROM contact_imports WHERE account_id = $1 AND deleted_at IS NOT NULL \
               AND status = 'completed' LIMIT 1";
    if scope.query_one(sql, []).await?.is_none() {
        return Ok(0);
    }
    // ix_contacts_import, then uq_enrollments_contact
    let sql = "SELECT count(*) AS count FROM (SELECT 1 FROM contact_imports i \
               JOIN contacts c ON c.account_id = $1 AND c.contact_import_id = i.id \
               JOIN enrollments e ON e.account_id = $1 AND e.campaign_id = $2 AND e.contact_id = c.id \
               JOIN batches b ON b.id = e.batch_id \
               WHERE i.account_id = $1 AND i.deleted_at IS NOT NULL AND i.status = 'completed' AND e.progress = 'queued' \
               AND b.dispatched_at IS NULL AND (CAST($3 AS integer) IS NULL OR b.batch_number = $3) \
               LIMIT $4) few";
    let values = [campaign_id.into(), Value::from(number), MOST_HIDDEN.into()];
    let row = scope.query_one(sql, values).await?;
    Ok(row.map(|row| row.try_get("", "count")).transpose()?.unwrap_or_default())
}

async fn release(
    scope: &Scope,
    campaign_id: Uuid,
    number: Option<i32>,
    now: Timestamp,
    due_at: Timestamp,
) -> ApiResult<()> {
    let sql = "UPDATE batches SET dispatched_at = $4, due_at = $5, undispatched = 0 \
               WHERE account_id = $1 AND campaign_id = $2 AND dispatched_at IS NULL AND undispatched > 0 \
               AND (CAST($3 AS integer) IS NULL OR batch_number = $3)";
    let values = [campaign_id.into(), Value::from(number), now.micros().into(), due_at.micros().into()];
    scope.execute(sql, values).await?;
    Ok(())
}

/// Step 1's delay, which counts from the dispatch.
async fn first_delay(scope: &Scope, campaign_id: Uuid) -> ApiResult<Duration> {
    // uq_sequence_steps_position
    let sql = "SELECT delay_minutes FROM sequence_steps WHERE account_id = $1 AND campaign_id = $2 AND position = 1";
    let row = scope.query_one(sql, [campaign_id.into()]).await?;
    let minutes: i32 = row.map(|row| row.try_get("", "delay_minutes")).transpose()?.unwrap_or_default();
    Ok(Duration::from_secs(u64::try_from(minutes).unwrap_or_default() * 60))
}

/// Batches by their ids.
///
/// # Errors
/// What the database refuses.
pub async fn by_id(scope: &Scope, ids: impl Iterator<Item = Uuid>) -> ApiResult<HashMap<Uuid, Model>> {
    let ids: BTreeSet<Uuid> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    // uq_batches_account; at most a page of them
    let rows = scope.find::<Entity>().filter(Column::Id.is_in(ids)).all(&scope.db()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// How many enrollments of dispatched batches nothing was sent to yet.
///
/// # Errors
/// What the database refuses.
pub async fn dispatched_pending(scope: &Scope, campaign_id: Uuid) -> ApiResult<i64> {
    // ix_batches_startable: drained batches hold none that is to be started
    let sql = "SELECT CAST(COALESCE(SUM(pending), 0) AS bigint) AS count FROM batches WHERE account_id = $1 \
               AND campaign_id = $2 AND dispatched_at IS NOT NULL AND NOT drained";
    let row = scope.query_one(sql, [campaign_id.into()]).await?;
    Ok(row.map(|row| row.try_get("", "count")).transpose()?.unwrap_or_default())
}
