//! Campaigns: what is sent to whom, and whether it is sending.
//!
//! Every change of a campaign's status goes through [`set_status`] or [`complete_if_done`], under the campaign's lock.
//! What happens to single enrollments is not here; what a campaign's page shows is in `overview`, what an operator looks for
//! in `wanted`.

pub mod overview;
pub mod wanted;

use sea_orm::{ActiveValue::Set, ColumnTrait, QueryFilter, Select, sea_query::Expr};
use uuid::Uuid;

pub use super::_entities::campaigns::{ActiveModel, Column, Entity, Model};
use super::{
    HeaderText, mailboxes, outreaches,
    sequence_steps::{self, NewStep},
    smtp_credentials::{self, NewCredential},
    states::CampaignStatus,
    webhooks::outbox::{self, PauseReason},
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::Sealer,
    errors::{ApiError, ApiResult, Code, Constraint, on_constraint},
    paging::Page,
    tenancy::{Scope, SystemScope, tenant_entity},
};

const OUTREACH: Constraint = Constraint::Foreign { name: "fk_campaigns_outreach" };

/// How a campaign sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The least wait between two sends of a lane, in seconds.
    pub min_wait_seconds: i32,
    /// The greatest.
    pub max_wait_seconds: i32,
    /// Whether enrolling leaves out contacts whose domain takes no mail.
    pub verify_email_mx: bool,
    /// The bounce rate, in percent, above which a credential is disabled.
    pub bounce_rate_threshold: f64,
}

/// A checked campaign.
#[derive(Clone, Debug)]
pub struct NewCampaign {
    /// Its name.
    pub name: HeaderText,
    /// How it sends.
    pub pace: Pace,
    /// What it sends through; at least one.
    pub credentials: Vec<NewCredential>,
    /// What it sends; at least one.
    pub steps: Vec<NewStep>,
}

/// Checked changes of a campaign.
#[derive(Clone, Debug)]
pub struct CampaignChanges {
    /// Another name.
    pub name: Option<HeaderText>,
    /// Another outreach, or none.
    pub outreach_id: Option<Option<Uuid>>,
    /// How it sends from now on, whole.
    pub pace: Pace,
    /// Other steps, the whole list.
    pub steps: Option<Vec<NewStep>>,
}

tenant_entity!(campaigns, CampaignNotFound, visible: "campaigns.deleted_at IS NULL");

/// The campaign, locked until the transaction ends. Third in the lock order, see `docs/ARCHITECTURE.md`.
///
/// # Errors
/// `campaign_not_found`.
pub async fn lock(scope: &Scope, id: Uuid) -> ApiResult<Model> {
    scope.lock::<Entity>(id).await
}

/// Moves a campaign that was read under [`lock`] to another status; answers whether that is a move that it may make.
/// The UPDATE repeats the status it was read with.
///
/// # Errors
/// What the database refuses.
pub async fn set_status(scope: &Scope, campaign: &Model, next: CampaignStatus) -> ApiResult<bool> {
    if !campaign.status.can_become(next) {
        return Ok(false);
    }
    let moved = scope
        .update::<Entity>()
        .col_expr(Column::Status, Expr::value(next))
        .filter(Column::Id.eq(campaign.id))
        .filter(Column::Status.eq(campaign.status))
        .exec(&scope.db())
        .await?;
    Ok(moved.rows_affected == 1)
}

/// `active` becomes `completed` when nothing that was dispatched can send any more; answers whether it did.
///
/// To be called in the transaction that ended an enrollment. The row is locked by a statement of its own, so that the
/// second one sees what a dispatch committed while this one waited. A caller that holds locks further down the order
/// must have locked the campaign before them.
///
/// # Errors
/// What the database refuses.
pub async fn complete_if_done(scope: &Scope, campaign_id: Uuid) -> ApiResult<bool> {
    let lock = crate::db::lock_sql(scope.backend(), crate::db::RowLock::Update);
    let sql =
        format!("SELECT id FROM campaigns WHERE account_id = $1 AND id = $2 AND status = 'active'{lock}");
    if scope.query_one(&sql, [campaign_id.into()]).await?.is_none() {
        return Ok(false);
    }
    // ix_enrollments_unfinished; ix_batches_startable, then ix_enrollments_queued: each stops at the first row.
    let changed = scope
        .execute(
            "UPDATE campaigns SET status = 'completed' WHERE account_id = $1 AND id = $2 AND status = 'active' \
             AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = $2 \
                 AND e.progress IN ('claimed', 'waiting', 'uncertain')) \
             AND NOT EXISTS (SELECT 1 FROM batches b JOIN enrollments q ON q.batch_id = b.id \
                 AND q.progress = 'queued' \
                 WHERE b.campaign_id = $2 AND b.dispatched_at IS NOT NULL AND NOT b.drained)",
            [campaign_id.into()],
        )
        .await?;
    Ok(changed == 1)
}

/// Stores a campaign with its credentials and steps.
///
/// # Errors
/// `outreach_not_found` when it was deleted meanwhile.
pub async fn create(
    scope: &Scope,
    sealer: &Sealer,
    new: NewCampaign,
    outreach_id: Option<Uuid>,
    now: Timestamp,
) -> ApiResult<Model> {
    let NewCampaign { name, pace, credentials, steps } = new;
    let row = Model {
        id: new_id(),
        account_id: scope.account_id(),
        outreach_id,
        name: name.to_string(),
        status: CampaignStatus::Pending,
        min_wait_seconds: pace.min_wait_seconds,
        max_wait_seconds: pace.max_wait_seconds,
        verify_email_mx: pace.verify_email_mx,
        bounce_rate_threshold: pace.bounce_rate_threshold,
        created_at: now,
        deleted_at: None,
    };
    let inserted = scope.insert::<Entity>(row.clone()).await;
    on_constraint(inserted, &[(OUTREACH, &|| ApiError::new(Code::OutreachNotFound))])?;
    scope
        .execute("INSERT INTO campaign_totals (account_id, campaign_id) VALUES ($1, $2)", [row.id.into()])
        .await?;
    smtp_credentials::insert_all(scope, sealer, &row, credentials, now).await?;
    sequence_steps::replace(scope, row.id, steps, now).await?;
    Ok(row)
}

/// Whose campaign it is.
///
/// # Errors
/// `campaign_not_found`.
pub async fn owner(system: &SystemScope, id: Uuid) -> ApiResult<Uuid> {
    let sql = "SELECT account_id FROM campaigns WHERE id = $1 AND deleted_at IS NULL";
    let row = system.query_one(sql, [id.into()]).await?;
    Ok(row.ok_or_else(|| ApiError::new(Code::CampaignNotFound))?.try_get("", "account_id")?)
}

/// A page of campaigns, newest first.
///
/// # Errors
/// What the database refuses.
pub async fn page(
    scope: &Scope,
    page: Page,
    status: Option<CampaignStatus>,
    outreach_id: Option<Uuid>,
) -> ApiResult<Vec<Model>> {
    Ok(page_of(scope, page, status, outreach_id).all(&scope.db()).await?)
}

/// The query of [`page`]. `uq_campaigns_account`, `ix_campaigns_status`, `ix_campaigns_outreach`: each ends with the id.
pub fn page_of(
    scope: &Scope,
    page: Page,
    status: Option<CampaignStatus>,
    outreach_id: Option<Uuid>,
) -> Select<Entity> {
    let mut rows = scope.find::<Entity>();
    if let Some(status) = status {
        rows = rows.filter(Column::Status.eq(status));
    }
    if let Some(outreach_id) = outreach_id {
        rows = rows.filter(Column::OutreachId.eq(outreach_id));
    }
    page.apply(rows, Column::Id)
}

/// The outreach must be there before anything else is said of the campaign.
///
/// # Errors
/// `outreach_not_found`.
pub async fn check_outreach(scope: &Scope, outreach_id: Option<Uuid>) -> ApiResult<()> {
    if let Some(id) = outreach_id {
        scope.get::<outreaches::Entity>(id).await?;
    }
    Ok(())
}

/// Changes a campaign that was read under [`lock`].
///
/// # Errors
/// `unprocessable` for steps and outreach of a campaign that is no longer pending.
pub async fn change(scope: &Scope, row: &Model, changes: CampaignChanges, now: Timestamp) -> ApiResult<()> {
    let fixed = row.status != CampaignStatus::Pending;
    if fixed && changes.outreach_id.is_some() {
        return Err(ApiError::unprocessable(
            "The outreach of a campaign cannot change once it was dispatched",
        ));
    }
    if fixed && changes.steps.is_some() {
        return Err(ApiError::unprocessable("The steps of a campaign cannot change once it was dispatched"));
    }
    let mut columns = ActiveModel {
        min_wait_seconds: Set(changes.pace.min_wait_seconds),
        max_wait_seconds: Set(changes.pace.max_wait_seconds),
        verify_email_mx: Set(changes.pace.verify_email_mx),
        bounce_rate_threshold: Set(changes.pace.bounce_rate_threshold),
        ..Default::default()
    };
    if let Some(name) = changes.name {
        columns.name = Set(name.to_string());
    }
    if let Some(outreach_id) = changes.outreach_id {
        columns.outreach_id = Set(outreach_id);
    }
    let saved = scope.save::<Entity>(row.id, columns).await;
    on_constraint(saved, &[(OUTREACH, &|| ApiError::new(Code::OutreachNotFound))])?;
    if let Some(steps) = changes.steps {
        sequence_steps::replace(scope, row.id, steps, now).await?;
    }
    Ok(())
}

/// Hides a campaign and stops it for good; its rows are removed later.
///
/// # Errors
/// `unprocessable` while it is active.
pub async fn delete(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<()> {
    let row = lock(scope, id).await?;
    if row.status == CampaignStatus::Active {
        return Err(ApiError::unprocessable("An active campaign cannot be deleted: pause it first"));
    }
    let deleted = ActiveModel { deleted_at: Set(Some(now)), ..Default::default() };
    scope.save::<Entity>(id, deleted).await?;
    smtp_credentials::rest_lanes(scope, id).await?;
    mailboxes::forget_unnamed(scope).await
}

/// Holds a campaign. The send path looks at the status again in the transaction of its mark, under the lock that is
/// taken here: once this has committed, nothing new goes to the wire.
///
/// # Errors
/// `campaign_not_active`.
pub async fn pause(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<Model> {
    let row = lock(scope, id).await?;
    if row.status != CampaignStatus::Active || !set_status(scope, &row, CampaignStatus::Paused).await? {
        return Err(ApiError::new(Code::CampaignNotActive));
    }
    let paused = Model { status: CampaignStatus::Paused, ..row };
    outbox::campaign_paused(scope, &paused, PauseReason::User, now).await?;
    Ok(paused)
}

/// Lets a campaign go on where it was held. One whose last enrollment ended meanwhile is completed at once.
///
/// # Errors
/// `campaign_not_paused`.
pub async fn resume(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<Model> {
    let row = lock(scope, id).await?;
    if row.status != CampaignStatus::Paused || !set_status(scope, &row, CampaignStatus::Active).await? {
        return Err(ApiError::new(Code::CampaignNotPaused));
    }
    let done = complete_if_done(scope, id).await?;
    let status = if done { CampaignStatus::Completed } else { CampaignStatus::Active };
    if !done {
        smtp_credentials::wake_lanes(scope, id, now).await?;
    }
    Ok(Model { status, ..row })
}
