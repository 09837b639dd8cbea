//! Making, changing and deleting credentials on their owner's behalf. All of it under the campaign's lock, which comes
//! before the credential's.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::{ActiveValue::Set, ColumnTrait, PaginatorTrait, QueryFilter};
use uuid::Uuid;

use super::{
    ActiveModel, Column, CredentialChanges, Entity, ImapChange, MOST_CREDENTIALS, Model, NewCredential,
    Tried, enabled_of, imap_password_place, smtp_password_place, wake_lanes,
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::{Sealer, Secret},
    errors::{ApiError, ApiResult, Failures, Reason},
    models::{campaigns, mailboxes, states::CampaignStatus},
    tenancy::Scope,
};

/// Adds a credential to a campaign; an active one uses it at once.
///
/// # Errors
/// `campaign_not_found`; `validation_failed` past the bound.
pub async fn create(
    scope: &Scope,
    sealer: &Sealer,
    campaign_id: Uuid,
    checked: ApiResult<NewCredential>,
    now: Timestamp,
) -> ApiResult<Model> {
    let campaign = campaigns::lock(scope, campaign_id).await?;
    let new = checked?;
    let there = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id)).count(&scope.db()).await?;
    if usize::try_from(there).unwrap_or(usize::MAX) >= MOST_CREDENTIALS {
        let phrase = format!("has the most SMTP credentials it may have ({MOST_CREDENTIALS})");
        return Err(Failures::one("campaign", Reason::Other(phrase.into())));
    }
    let row = seal_into_row(scope, sealer, &campaign, new, now);
    scope.insert::<Entity>(row.clone()).await?;
    adopt_mailboxes(scope, std::slice::from_ref(&row), now).await?;
    Ok(row)
}

/// Adds the credentials of a new campaign.
///
/// # Errors
/// What the database refuses.
pub async fn insert_all(
    scope: &Scope,
    sealer: &Sealer,
    campaign: &campaigns::Model,
    new: Vec<NewCredential>,
    now: Timestamp,
) -> ApiResult<()> {
    let rows: Vec<Model> =
        new.into_iter().map(|new| seal_into_row(scope, sealer, campaign, new, now)).collect();
    scope.insert_all::<Entity>(rows.clone()).await?;
    adopt_mailboxes(scope, &rows, now).await
}

/// Has the mailboxes of new credentials read, each once, in one order.
async fn adopt_mailboxes(scope: &Scope, rows: &[Model], now: Timestamp) -> ApiResult<()> {
    let names: BTreeSet<mailboxes::Name> = rows.iter().filter_map(mailboxes::name_of).collect();
    for name in &names {
        mailboxes::adopt(scope, name, now).await?;
    }
    Ok(())
}

fn seal_into_row(
    scope: &Scope,
    sealer: &Sealer,
    campaign: &campaigns::Model,
    new: NewCredential,
    now: Timestamp,
) -> Model {
    let (id, account_id) = (new_id(), scope.account_id());
    let smtp_place = smtp_password_place(account_id, id);
    let imap_place = imap_password_place(account_id, id);
    let seal = |place, password: &Secret| sealer.seal(&place, password.expose().as_bytes());
    Model {
        id,
        account_id,
        campaign_id: campaign.id,
        label: new.label,
        smtp_password: seal(smtp_place, &new.smtp.password),
        smtp_host: new.smtp.host,
        smtp_port: new.smtp.port,
        smtp_username: new.smtp.username,
        from_name: new.from_name.to_string(),
        from_email: new.from_email.to_string(),
        daily_limit: new.daily_limit,
        imap_password: new.imap.as_ref().map(|imap| seal(imap_place, &imap.password)),
        imap_host: new.imap.as_ref().map(|imap| imap.host.clone()),
        imap_port: new.imap.as_ref().map(|imap| imap.port),
        imap_username: new.imap.map(|imap| imap.username),
        enabled_at: now,
        disabled_at: None,
        disabled_reason: None,
        next_send_at: Timestamp::from_micros(0),
        wake_at: (campaign.status == CampaignStatus::Active).then_some(now),
        holder: None,
        failures: 0,
        created_at: now,
        deleted_at: None,
    }
}

/// The credential of a campaign, both locked.
///
/// # Errors
/// `campaign_not_found`, `smtp_credential_not_found`.
pub async fn lock(scope: &Scope, campaign_id: Uuid, id: Uuid) -> ApiResult<(campaigns::Model, Model)> {
    let campaign = campaigns::lock(scope, campaign_id).await?;
    let row = scope.lock::<Entity>(id).await?;
    if row.campaign_id != campaign_id {
        return Err(ApiError::new(crate::errors::Code::SmtpCredentialNotFound));
    }
    Ok((campaign, row))
}

/// Changes a credential that was read under [`lock`]. Its lane is looked at again, since what it waited for (a limit that
/// was too low) may be gone. What a server had against it is forgotten where that is another now.
///
/// # Errors
/// What the database refuses.
pub async fn change(
    scope: &Scope,
    sealer: &Sealer,
    campaign: &campaigns::Model,
    row: &Model,
    changes: CredentialChanges,
    now: Timestamp,
) -> ApiResult<()> {
    scope.save::<Entity>(row.id, to_columns(sealer, row, changes)).await?;
    let changed = scope.get::<Entity>(row.id).await?;
    if !Tried::by(row).is(&changed) {
        let next_send_at = Set(rested(campaign, row, now));
        let forgotten = ActiveModel { failures: Set(0), next_send_at, ..Default::default() };
        scope.save::<Entity>(row.id, forgotten).await?;
    }
    // The other lanes of the campaign before the mailbox, which is the last in the order of locks.
    if campaign.status == CampaignStatus::Active {
        wake_lanes(scope, campaign.id, now).await?;
    }
    mailboxes::follow(scope, row, &changed, now).await
}

/// From when on it may send where its failures are forgotten: a rest that they made is over, a pause between messages is
/// not. The two share a column, and no pause is longer than the longest that the campaign has now.
fn rested(campaign: &campaigns::Model, row: &Model, now: Timestamp) -> Timestamp {
    let longest = Duration::from_secs(campaign.max_wait_seconds.unsigned_abs().into());
    if row.failures == 0 { row.next_send_at } else { row.next_send_at.min(now.plus(longest)) }
}

fn to_columns(sealer: &Sealer, row: &Model, changes: CredentialChanges) -> ActiveModel {
    let CredentialChanges {
        label,
        smtp_host,
        smtp_port,
        smtp_username,
        smtp_password,
        from_name,
        from_email,
        daily_limit,
        imap,
    } = changes;
    let mut to = ActiveModel::default();
    let place = smtp_password_place(row.account_id, row.id);
    put(&mut to.label, label);
    put(&mut to.smtp_host, smtp_host);
    put(&mut to.smtp_port, smtp_port);
    put(&mut to.smtp_username, smtp_username);
    put(&mut to.smtp_password, smtp_password.map(|secret| sealer.seal(&place, secret.expose().as_bytes())));
    put(&mut to.from_name, from_name.map(|name| name.to_string()));
    put(&mut to.from_email, from_email.map(|email| email.to_string()));
    put(&mut to.daily_limit, daily_limit);
    let place = imap_password_place(row.account_id, row.id);
    match imap {
        ImapChange::Remove => {
            (to.imap_host, to.imap_port) = (Set(None), Set(None));
            (to.imap_username, to.imap_password) = (Set(None), Set(None));
        }
        ImapChange::Set { host, port, username, password } => {
            put(&mut to.imap_host, host.map(Some));
            put(&mut to.imap_port, port.map(Some));
            put(&mut to.imap_username, username.map(Some));
            let bytes = password.map(|secret| Some(sealer.seal(&place, secret.expose().as_bytes())));
            put(&mut to.imap_password, bytes);
        }
    }
    to
}

fn put<T: Into<sea_orm::Value>>(column: &mut sea_orm::ActiveValue<T>, value: Option<T>) {
    if let Some(value) = value {
        *column = Set(value);
    }
}

/// Deletes a credential. What it had started goes to the others, which are woken for it; the row stays for the history.
///
/// # Errors
/// `unprocessable` for the last enabled one of an active campaign.
pub async fn delete(scope: &Scope, campaign_id: Uuid, id: Uuid, now: Timestamp) -> ApiResult<()> {
    let (campaign, row) = lock(scope, campaign_id, id).await?;
    let enabled = enabled_of(scope, campaign_id).await?;
    let last = row.disabled_at.is_none() && enabled.len() == 1;
    if last && campaign.status == CampaignStatus::Active {
        return Err(ApiError::unprocessable(
            "The last enabled SMTP credential of an active campaign cannot be deleted",
        ));
    }
    let gone = ActiveModel { deleted_at: Set(Some(now)), wake_at: Set(None), ..Default::default() };
    scope.save::<Entity>(id, gone).await?;
    if campaign.status == CampaignStatus::Active {
        wake_lanes(scope, campaign_id, now).await?;
    }
    mailboxes::forget_unnamed(scope).await
}

/// Enables a credential again; its bounce rate starts anew. Changes nothing of one that is enabled.
///
/// # Errors
/// `campaign_not_found`, `smtp_credential_not_found`.
pub async fn reenable(scope: &Scope, campaign_id: Uuid, id: Uuid, now: Timestamp) -> ApiResult<Model> {
    let (campaign, row) = lock(scope, campaign_id, id).await?;
    if row.disabled_at.is_none() {
        return Ok(row);
    }
    let next_send_at = rested(&campaign, &row, now);
    let enabled = ActiveModel {
        enabled_at: Set(now),
        disabled_at: Set(None),
        disabled_reason: Set(None),
        failures: Set(0),
        next_send_at: Set(next_send_at),
        ..Default::default()
    };
    scope.save::<Entity>(id, enabled).await?;
    super::days::forget_health(scope, id, now.day()).await?;
    if campaign.status == CampaignStatus::Active {
        wake_lanes(scope, campaign_id, now).await?;
    }
    Ok(Model { enabled_at: now, disabled_at: None, disabled_reason: None, failures: 0, next_send_at, ..row })
}
