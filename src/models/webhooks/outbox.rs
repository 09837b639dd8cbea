//! The outbox: an event is written in the transaction that caused it, once for each webhook that wants it.
//!
//! Where nobody listens, one look at `ix_webhooks_listening` is all that it costs, however many events there are. What
//! an event tells is read after the change, in the same transaction, and stored as it will be sent. These are the last
//! statements of their transaction: rows of webhooks come last in the order of locks.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{DbErr, QueryResult};
use serde::Serialize;
use uuid::Uuid;

use super::Filters;
use crate::{
    clock::{Timestamp, new_id},
    models::{
        campaigns,
        former_addresses::SENT_TO,
        smtp_credentials,
        sql::{holes, uuids},
        states::{EventType, WebhookState},
        webhook_deliveries,
    },
    tenancy::Scope,
};

/// Ids that one statement names.
const CHUNK: usize = 500;

/// Something that happened to an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub event: EventType,
    /// To which.
    pub enrollment_id: Uuid,
    /// The step that it is about; `None`: the last that was accepted.
    pub position: Option<i32>,
}

/// A webhook that is enabled, and what it wants to hear.
#[derive(Clone, Debug)]
struct Listener {
    id: Uuid,
    filters: Filters,
}

/// What is sent: the body of every attempt.
#[derive(Debug, Serialize)]
struct Payload<'a, D> {
    id: Uuid,
    #[serde(rename = "type")]
    event: EventType,
    created_at: Timestamp,
    account_id: Uuid,
    data: &'a D,
}

/// `data` of `enrollment.*`.
#[derive(Debug, Serialize)]
struct EnrollmentData {
    enrollment_id: Uuid,
    contact_id: Uuid,
    contact_email: String,
    campaign_id: Uuid,
    position: Option<i32>,
    status: String,
    sent_at: Option<Timestamp>,
    opened_at: Option<Timestamp>,
    replied_at: Option<Timestamp>,
    unsubscribed_at: Option<Timestamp>,
    bounce_reason: Option<String>,
}

/// `data` of `credential.disabled`.
#[derive(Debug, Serialize)]
struct CredentialData<'a> {
    smtp_credential_id: Uuid,
    campaign_id: Uuid,
    from_email: &'a str,
    reason: Option<&'a str>,
    bounce_rate: f64,
    bounce_rate_threshold: f64,
    disabled_at: Option<Timestamp>,
}

/// `data` of `campaign.paused`.
#[derive(Debug, Serialize)]
struct CampaignData<'a> {
    campaign_id: Uuid,
    name: &'a str,
    reason: &'a str,
    paused_at: Timestamp,
}

/// Why a campaign was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// Its owner wanted it.
    User,
    /// None of its credentials may send.
    NoEnabledCredential,
}

impl PauseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::NoEnabledCredential => "no_enabled_credential",
        }
    }
}

/// Tells of what happened to enrollments, to be called after their rows were changed. Answers how many deliveries were
/// written.
///
/// # Errors
/// What the database refuses.
pub async fn enrollments(scope: &Scope, happened: &[Happened], now: Timestamp) -> Result<u64, DbErr> {
    if happened.is_empty() {
        return Ok(0);
    }
    let listeners = listeners(scope).await?;
    let heard: Vec<&Happened> = happened
        .iter()
        .filter(|it| listeners.iter().any(|listener| listener.filters.pass(it.event)))
        .collect();
    let mut written = 0;
    for some in heard.chunks(CHUNK) {
        let ids: BTreeSet<Uuid> = some.iter().map(|it| it.enrollment_id).collect();
        let known = read_enrollments(scope, &ids.into_iter().collect::<Vec<_>>()).await?;
        let mut rows = Vec::new();
        for it in some {
            let Some(row) = known.get(&it.enrollment_id) else { continue };
            rows.extend(deliveries(scope, &listeners, it.event, &row.data(it.position)?, now)?);
        }
        written += rows.len() as u64;
        scope.insert_all::<webhook_deliveries::Entity>(rows).await?;
    }
    Ok(written)
}

/// Tells that a credential was disabled. `bounce_rate` is in percent, as its threshold.
///
/// # Errors
/// What the database refuses.
pub async fn credential_disabled(
    scope: &Scope,
    credential: &smtp_credentials::Model,
    bounce_rate: f64,
    bounce_rate_threshold: f64,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let data = CredentialData {
        smtp_credential_id: credential.id,
        campaign_id: credential.campaign_id,
        from_email: &credential.from_email,
        reason: credential.disabled_reason.as_deref(),
        // As the API shows it.
        bounce_rate: (bounce_rate * 10.0).round() / 10.0,
        bounce_rate_threshold,
        disabled_at: credential.disabled_at,
    };
    tell(scope, EventType::CredentialDisabled, &data, now).await
}

/// Tells that a campaign was paused.
///
/// # Errors
/// What the database refuses.
pub async fn campaign_paused(
    scope: &Scope,
    campaign: &campaigns::Model,
    reason: PauseReason,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let data = CampaignData {
        campaign_id: campaign.id,
        name: &campaign.name,
        reason: reason.as_str(),
        paused_at: now,
    };
    tell(scope, EventType::CampaignPaused, &data, now).await
}

/// A delivery of `webhook.test`, not stored: its sender stores it with the one attempt that it gets.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn test_delivery(
    account_id: Uuid,
    webhook_id: Uuid,
    id: Uuid,
    now: Timestamp,
) -> Result<webhook_deliveries::Model, DbErr> {
    let data = serde_json::json!({ "webhook_id": webhook_id });
    delivery(account_id, webhook_id, id, EventType::WebhookTest, &data, now)
}

async fn tell<D: Serialize + Sync>(
    scope: &Scope,
    event: EventType,
    data: &D,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let listeners = listeners(scope).await?;
    let rows = deliveries(scope, &listeners, event, data, now)?;
    let written = rows.len() as u64;
    scope.insert_all::<webhook_deliveries::Entity>(rows).await?;
    Ok(written)
}

async fn listeners(scope: &Scope) -> Result<Vec<Listener>, DbErr> {
    // ix_webhooks_listening
    let sql = "SELECT id, event_filters FROM webhooks WHERE account_id = $1 AND disabled_at IS NULL \
               AND deleted_at IS NULL ORDER BY id";
    let listener = |row: &QueryResult| {
        let filters: serde_json::Value = row.try_get("", "event_filters")?;
        Ok(Listener { id: row.try_get("", "id")?, filters: Filters::of_column(&filters) })
    };
    scope.query(sql, []).await?.iter().map(listener).collect()
}

/// One row for each listener that wants it.
fn deliveries<D: Serialize>(
    scope: &Scope,
    listeners: &[Listener],
    event: EventType,
    data: &D,
    now: Timestamp,
) -> Result<Vec<webhook_deliveries::Model>, DbErr> {
    let wanted = listeners.iter().filter(|listener| listener.filters.pass(event));
    wanted.map(|listener| delivery(scope.account_id(), listener.id, new_id(), event, data, now)).collect()
}

fn delivery<D: Serialize>(
    account_id: Uuid,
    webhook_id: Uuid,
    id: Uuid,
    event: EventType,
    data: &D,
    now: Timestamp,
) -> Result<webhook_deliveries::Model, DbErr> {
    let payload = Payload { id, event, created_at: now, account_id, data };
    let payload = serde_json::to_string(&payload).map_err(|error| DbErr::Json(error.to_string()))?;
    Ok(webhook_deliveries::Model {
        id,
        account_id,
        webhook_id,
        event_type: event,
        payload,
        state: WebhookState::Pending,
        tries: 0,
        attempts: 0,
        due_at: now,
        status_code: None,
        error: None,
        delivered_at: None,
        created_at: now,
    })
}

/// An enrollment and its contact as the transaction sees them.
struct Known(QueryResult);

async fn read_enrollments(scope: &Scope, ids: &[Uuid]) -> Result<HashMap<Uuid, Known>, DbErr> {
    // Both by their primary keys; see `ledger::facts` for why the join names no account.
    let sql = format!(
        "SELECT e.id, e.contact_id, {SENT_TO} AS email, e.campaign_id, e.status, e.current_step, e.sent_at, e.opened_at, \
         e.replied_at, e.unsubscribed_at, e.bounce_reason FROM enrollments e JOIN contacts c ON c.id = e.contact_id \
         WHERE e.account_id = $1 AND e.id IN ({})",
        holes(2, ids.len())
    );
    let rows = scope.query(&sql, uuids(ids)).await?;
    rows.into_iter().map(|row| Ok((row.try_get("", "id")?, Known(row)))).collect()
}

impl Known {
    fn data(&self, position: Option<i32>) -> Result<EnrollmentData, DbErr> {
        let row = &self.0;
        let last: i32 = row.try_get("", "current_step")?;
        Ok(EnrollmentData {
            enrollment_id: row.try_get("", "id")?,
            contact_id: row.try_get("", "contact_id")?,
            contact_email: row.try_get("", "email")?,
            campaign_id: row.try_get("", "campaign_id")?,
            position: position.or_else(|| (last > 0).then_some(last)),
            status: row.try_get("", "status")?,
            sent_at: row.try_get("", "sent_at")?,
            opened_at: row.try_get("", "opened_at")?,
            replied_at: row.try_get("", "replied_at")?,
            unsubscribed_at: row.try_get("", "unsubscribed_at")?,
            bounce_reason: row.try_get("", "bounce_reason")?,
        })
    }
}
