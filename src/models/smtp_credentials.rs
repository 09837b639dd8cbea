//! SMTP credentials: the lanes that a campaign sends through.
//!
//! What a lane does next is the send path's; here are its rows: who may send, and when a lane is worth looking at.

pub mod days;
mod edit;
pub mod health;
mod tried;

use sea_orm::{ColumnTrait, DbErr, QueryFilter, QueryOrder, sea_query::Expr};
use uuid::Uuid;

pub use super::_entities::smtp_credentials::{ActiveModel, Column, Entity, Model};
pub use edit::{change, create, delete, insert_all, lock, reenable};
pub use tried::Tried;

use super::{
    EmailAddress, HeaderText, campaigns,
    states::{CampaignStatus, DisabledReason},
    webhooks::outbox::{self, PauseReason},
};
use crate::{
    clock::Timestamp,
    crypto::{Place, Secret},
    db::{RowLock, lock_sql},
    errors::{ApiResult, Code},
    mailers::{self, Mail},
    paging::Page,
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(smtp_credentials, SmtpCredentialNotFound, visible: "smtp_credentials.deleted_at IS NULL");

/// The most credentials of a campaign.
pub const MOST_CREDENTIALS: usize = 100;

/// What disabling a credential did.
#[derive(Clone, Debug, PartialEq)]
pub struct Disabled {
    /// The credential as it is now.
    pub credential: Model,
    /// Its campaign, which was active and is paused because no enabled credential is left.
    pub paused: Option<campaigns::Model>,
}

/// A page of a campaign's credentials, newest first.
///
/// # Errors
/// `campaign_not_found`.
pub async fn page(scope: &Scope, campaign_id: Uuid, page: Page) -> ApiResult<Vec<Model>> {
    scope.get::<campaigns::Entity>(campaign_id).await?;
    // ix_smtp_credentials_campaign
    let rows = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    Ok(page.apply(rows, Column::Id).all(&scope.db()).await?)
}

/// One credential of a campaign, and what it did.
///
/// # Errors
/// `campaign_not_found`, `smtp_credential_not_found`.
pub async fn find(
    scope: &Scope,
    campaign_id: Uuid,
    id: Uuid,
    now: Timestamp,
) -> ApiResult<(Model, days::Standing)> {
    scope.get::<campaigns::Entity>(campaign_id).await?;
    let row = scope.get::<Entity>(id).await?;
    if row.campaign_id != campaign_id {
        return Err(Entity::MISSING.into());
    }
    let mut standings = days::standings(scope, std::slice::from_ref(&row), now).await?;
    let standing = standings.remove(&id).unwrap_or_default();
    Ok((row, standing))
}

/// The credentials of a campaign, oldest first.
///
/// # Errors
/// What the database refuses.
pub async fn of_campaign(scope: &Scope, campaign_id: Uuid) -> ApiResult<Vec<Model>> {
    let rows = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    Ok(rows.order_by_asc(Column::Id).all(&scope.db()).await?)
}

/// The credentials that a campaign may send through, oldest first.
///
/// # Errors
/// What the database refuses.
pub async fn enabled_of(scope: &Scope, campaign_id: Uuid) -> ApiResult<Vec<Model>> {
    // ix_smtp_credentials_campaign
    let rows = scope
        .find::<Entity>()
        .filter(Column::CampaignId.eq(campaign_id))
        .filter(Column::DisabledAt.is_null())
        .order_by_asc(Column::Id)
        .all(&scope.db())
        .await?;
    Ok(rows)
}

/// Disables a credential, and pauses its campaign when that was the last enabled one; webhooks and the account's owner are told of both. `None`
/// when it was disabled or deleted already. Locks the campaign, then the credential. What its lane had begun stays where it
/// is until the send path moves it; what it had only claimed goes back to the batch, and wakes the others then.
///
/// # Errors
/// What the database refuses.
pub async fn disable(
    scope: &Scope,
    id: Uuid,
    reason: DisabledReason,
    at: Timestamp,
) -> ApiResult<Option<Disabled>> {
    let Some(known) = scope.find::<Entity>().filter(Column::Id.eq(id)).one(&scope.db()).await? else {
        return Ok(None);
    };
    let campaign = match campaigns::lock(scope, known.campaign_id).await {
        Err(error) if error.code == Code::CampaignNotFound => return Ok(None),
        found => found?,
    };
    let credential = scope.lock::<Entity>(id).await?;
    if credential.disabled_at.is_some() {
        return Ok(None);
    }
    let credential = Model {
        disabled_at: Some(at),
        disabled_reason: Some(reason.as_str().to_owned()),
        wake_at: None,
        ..credential
    };
    scope
        .update::<Entity>()
        .col_expr(Column::DisabledAt, Expr::value(at))
        .col_expr(Column::DisabledReason, Expr::value(reason.as_str()))
        .col_expr(Column::WakeAt, Expr::value(None::<Timestamp>))
        .filter(Column::Id.eq(id))
        .exec(&scope.db())
        .await?;
    let alone = enabled_of(scope, campaign.id).await?.is_empty();
    let paused = alone
        && campaign.status == CampaignStatus::Active
        && campaigns::set_status(scope, &campaign, CampaignStatus::Paused).await?;
    let standing = days::standings(scope, std::slice::from_ref(&credential), at).await?;
    let bounce_rate = standing.get(&id).map_or(0.0, days::Standing::bounce_rate);
    outbox::credential_disabled(scope, &credential, bounce_rate, campaign.bounce_rate_threshold, at).await?;
    tell_owner(scope, &credential, &campaign, bounce_rate, alone, at).await?;
    let paused = paused.then_some(campaigns::Model { status: CampaignStatus::Paused, ..campaign });
    if let Some(campaign) = &paused {
        outbox::campaign_paused(scope, campaign, PauseReason::NoEnabledCredential, at).await?;
        let (campaign_id, campaign) = (campaign.id, campaign.name.clone());
        mailers::enqueue(scope, Mail::CampaignPaused { campaign_id, campaign, paused_at: at }).await?;
    }
    Ok(Some(Disabled { credential, paused }))
}

/// Has a mail sent about a credential that was disabled. `last`: the campaign has no other that may send.
async fn tell_owner(
    scope: &Scope,
    credential: &Model,
    campaign: &campaigns::Model,
    bounce_rate: f64,
    last: bool,
    at: Timestamp,
) -> ApiResult<()> {
    let mail = Mail::CredentialDisabled {
        smtp_credential_id: credential.id,
        from_email: credential.from_email.clone(),
        campaign_id: campaign.id,
        campaign: campaign.name.clone(),
        reason: credential.disabled_reason.clone().unwrap_or_default(),
        // As the API shows it.
        bounce_rate: (bounce_rate * 10.0).round() / 10.0,
        bounce_rate_threshold: campaign.bounce_rate_threshold,
        last,
        disabled_at: at,
    };
    Ok(mailers::enqueue(scope, mail).await?)
}

/// Has the enabled lanes of a campaign looked at from `at` on, or earlier if they already were to be.
///
/// # Errors
/// What the database refuses.
pub async fn wake_lanes(scope: &Scope, campaign_id: Uuid, at: Timestamp) -> Result<(), DbErr> {
    // ix_smtp_credentials_campaign; locked by id, as the sender's ledger does, or the two could deadlock.
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql = format!(
        "UPDATE smtp_credentials \
         SET wake_at = CASE WHEN wake_at IS NULL OR wake_at > $3 THEN $3 ELSE wake_at END \
         WHERE account_id = $1 AND id IN (SELECT c.id FROM smtp_credentials c \
             WHERE c.account_id = $1 AND c.campaign_id = $2 AND c.deleted_at IS NULL AND c.disabled_at IS NULL \
             ORDER BY c.id{lock})"
    );
    scope.execute(&sql, [campaign_id.into(), at.micros().into()]).await.map(drop)
}

/// Has all lanes of the account looked at now that were to be looked at later: its limit changed. Its active campaigns are
/// locked, so that no lane is left meanwhile by what the limit was.
///
/// # Errors
/// What the database refuses.
pub async fn wake_all(scope: &Scope, now: Timestamp) -> ApiResult<()> {
    // uq_smtp_credentials_account; locked by id, as everywhere
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql = format!(
        "UPDATE smtp_credentials SET wake_at = $2 WHERE account_id = $1 AND id IN (SELECT c.id FROM smtp_credentials c \
         WHERE c.account_id = $1 AND c.wake_at > $2 AND c.deleted_at IS NULL AND c.disabled_at IS NULL \
         ORDER BY c.id{lock})"
    );
    scope.execute(&sql, [now.micros().into()]).await?;
    Ok(())
}

/// Has the lanes of a campaign looked at by nobody: there is nothing for them to do.
///
/// # Errors
/// What the database refuses.
pub async fn rest_lanes(scope: &Scope, campaign_id: Uuid) -> ApiResult<()> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql = format!(
        "UPDATE smtp_credentials SET wake_at = NULL \
         WHERE account_id = $1 AND id IN (SELECT c.id FROM smtp_credentials c \
             WHERE c.account_id = $1 AND c.campaign_id = $2 AND c.wake_at IS NOT NULL ORDER BY c.id{lock})"
    );
    scope.execute(&sql, [campaign_id.into()]).await?;
    Ok(())
}

/// A mail server and how to sign in.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: i32,
    /// User name.
    pub username: String,
    /// Password, to be sealed.
    pub password: Secret,
}

/// A checked credential.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// Its owner's name for it.
    pub label: Option<String>,
    /// What it sends through.
    pub smtp: MailServer,
    /// The sender's name.
    pub from_name: HeaderText,
    /// The sender's address.
    pub from_email: EmailAddress,
    /// Most first steps a UTC day.
    pub daily_limit: i32,
    /// Where replies arrive.
    pub imap: Option<MailServer>,
}

/// Checked changes of a credential; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct CredentialChanges {
    /// Another label, or none.
    pub label: Option<Option<String>>,
    /// Another host to send through.
    pub smtp_host: Option<String>,
    /// Another port there.
    pub smtp_port: Option<i32>,
    /// Another user name there.
    pub smtp_username: Option<String>,
    /// Another password there.
    pub smtp_password: Option<Secret>,
    /// Another sender's name.
    pub from_name: Option<HeaderText>,
    /// Another sender's address.
    pub from_email: Option<EmailAddress>,
    /// Another daily limit.
    pub daily_limit: Option<i32>,
    /// What becomes of the mailbox.
    pub imap: ImapChange,
}

/// What becomes of a credential's mailbox.
#[derive(Clone, Debug)]
pub enum ImapChange {
    /// It is read no more.
    Remove,
    /// The fields that are given change.
    Set {
        /// Another host.
        host: Option<String>,
        /// Another port.
        port: Option<i32>,
        /// Another user name.
        username: Option<String>,
        /// Another password.
        password: Option<Secret>,
    },
}

impl Default for ImapChange {
    fn default() -> Self {
        Self::Set { host: None, port: None, username: None, password: None }
    }
}

/// Where the SMTP password of a credential is sealed to.
pub const fn smtp_password_place(account: Uuid, row: Uuid) -> Place {
    Place { account, table: Entity::TABLE, row, column: "smtp_password" }
}

/// Where the IMAP password of a credential is sealed to.
pub const fn imap_password_place(account: Uuid, row: Uuid) -> Place {
    Place { account, table: Entity::TABLE, row, column: "imap_password" }
}
