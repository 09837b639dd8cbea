//! Outreaches: groups of campaigns.

use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

pub use super::_entities::outreaches::{ActiveModel, Column, Entity, Model};
use super::campaigns;
use crate::{
    clock::{Timestamp, new_id},
    db::{RowLock, lock_sql},
    errors::ApiResult,
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(outreaches, OutreachNotFound);

/// How many campaigns an outreach shows.
const SHOWN_CAMPAIGNS: u64 = 100;

/// What happened to the enrollments of an outreach's campaigns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nothing was accepted yet.
    pub pending: i64,
    /// At least one step was accepted.
    pub sent: i64,
    /// At least one message was opened.
    pub opened: i64,
    /// The contact answered.
    pub replied: i64,
    /// The address bounced.
    pub bounced: i64,
}

/// An outreach with what it shows of its campaigns.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The row.
    pub outreach: Model,
    /// Sums over all its campaigns.
    pub totals: Totals,
    /// Its newest campaigns.
    pub campaigns: Vec<campaigns::Model>,
}

/// Makes an outreach.
///
/// # Errors
/// What the database refuses.
pub async fn create(scope: &Scope, name: String, unique_contacts: bool, now: Timestamp) -> ApiResult<Detail> {
    let outreach =
        Model { id: new_id(), account_id: scope.account_id(), name, unique_contacts, created_at: now };
    scope.insert::<Entity>(outreach.clone()).await?;
    Ok(Detail { outreach, totals: Totals::default(), campaigns: Vec::new() })
}

/// An outreach, its totals and its newest campaigns.
///
/// # Errors
/// `outreach_not_found`.
pub async fn detail(scope: &Scope, id: Uuid) -> ApiResult<Detail> {
    let outreach = scope.get::<Entity>(id).await?;
    // ix_campaigns_outreach
    let campaigns = scope
        .find::<campaigns::Entity>()
        .filter(campaigns::Column::OutreachId.eq(id))
        .order_by_desc(campaigns::Column::Id)
        .limit(SHOWN_CAMPAIGNS)
        .all(&scope.db())
        .await?;
    Ok(Detail { outreach, totals: totals(scope, id).await?, campaigns })
}

/// One row per campaign, kept up to date by whoever changes enrollments: nothing is counted here.
async fn totals(scope: &Scope, id: Uuid) -> ApiResult<Totals> {
    // ix_campaigns_outreach, then the primary key of campaign_totals
    let sql = "SELECT CAST(COALESCE(SUM(t.pending), 0) AS bigint) AS pending, \
               CAST(COALESCE(SUM(t.sent), 0) AS bigint) AS sent, \
               CAST(COALESCE(SUM(t.opened), 0) AS bigint) AS opened, \
               CAST(COALESCE(SUM(t.replied), 0) AS bigint) AS replied, \
               CAST(COALESCE(SUM(t.bounced), 0) AS bigint) AS bounced \
               FROM campaigns ca JOIN campaign_totals t ON t.campaign_id = ca.id \
               WHERE ca.account_id = $1 AND ca.outreach_id = $2 AND ca.deleted_at IS NULL";
    let Some(row) = scope.query_one(sql, [id.into()]).await? else { return Ok(Totals::default()) };
    Ok(Totals {
        pending: row.try_get("", "pending")?,
        sent: row.try_get("", "sent")?,
        opened: row.try_get("", "opened")?,
        replied: row.try_get("", "replied")?,
        bounced: row.try_get("", "bounced")?,
    })
}

/// Changes an outreach; None leaves a field as it is.
///
/// # Errors
/// `outreach_not_found`.
pub async fn update(
    scope: &Scope,
    id: Uuid,
    name: Option<String>,
    unique_contacts: Option<bool>,
) -> ApiResult<Detail> {
    let row = scope.lock::<Entity>(id).await?;
    let sql = "UPDATE outreaches SET name = $3, unique_contacts = $4 WHERE account_id = $1 AND id = $2";
    let name = name.unwrap_or(row.name);
    let unique_contacts = unique_contacts.unwrap_or(row.unique_contacts);
    scope.execute(sql, [id.into(), name.into(), unique_contacts.into()]).await?;
    detail(scope, id).await
}

/// Deletes an outreach; its campaigns stay, without one.
///
/// # Errors
/// `outreach_not_found`.
pub async fn delete(scope: &Scope, id: Uuid) -> ApiResult<()> {
    // Locked against campaigns that are just joining: their foreign key waits.
    scope.lock::<Entity>(id).await?;
    let lock = lock_sql(scope.backend(), RowLock::Update);
    // ix_campaigns_outreach, deleted campaigns too
    let held =
        format!("SELECT id FROM campaigns WHERE account_id = $1 AND outreach_id = $2 ORDER BY id{lock}");
    scope.query(&held, [id.into()]).await?;
    let leave = "UPDATE campaigns SET outreach_id = NULL WHERE account_id = $1 AND outreach_id = $2";
    scope.execute(leave, [id.into()]).await?;
    scope.delete::<Entity>().filter(Column::Id.eq(id)).exec(&scope.db()).await?;
    Ok(())
}
