//! What a campaign's page shows, read from rolled-up counters: its cost does not grow with the enrollments.

use std::collections::HashMap;

use sea_orm::QueryResult;
use uuid::Uuid;

use super::Model;
use crate::{
    clock::Timestamp,
    errors::ApiResult,
    models::{
        former_addresses::SENT_TO,
        sequence_steps,
        smtp_credentials::{self, days::Standing},
    },
    tenancy::Scope,
};

/// Batches that a page shows: those with the highest numbers.
const BATCHES_SHOWN: i64 = 100;
/// Bounces that a page shows.
const BOUNCES_SHOWN: i64 = 10;

/// Enrollments by what has happened to them at least once; `pending` by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nothing accepted yet.
    pub pending: i64,
    /// At least one step accepted.
    pub sent: i64,
    /// Opened.
    pub opened: i64,
    /// Answered.
    pub replied: i64,
    /// Bounced.
    pub bounced: i64,
    /// Unsubscribed.
    pub unsubscribed: i64,
}

impl Totals {
    fn read(row: &QueryResult) -> ApiResult<Self> {
        Ok(Self {
            pending: row.try_get("", "pending")?,
            sent: row.try_get("", "sent")?,
            opened: row.try_get("", "opened")?,
            replied: row.try_get("", "replied")?,
            bounced: row.try_get("", "bounced")?,
            unsubscribed: row.try_get("", "unsubscribed")?,
        })
    }
}

/// The counters of one campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What happened to its enrollments.
    pub totals: Totals,
    /// How many of them were sent to or bounced, once each: what the bounce rate is over.
    pub sent_or_bounced: i64,
    /// Deliveries whose outcome nobody knows.
    pub uncertain: i64,
    /// Contacts that enrolling left out because their domain takes no mail.
    pub mx_invalid: i64,
    /// Contacts that enrolling left out because a sibling campaign has them.
    pub cross_campaign: i64,
}

/// A bounce of the campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// The enrollment.
    pub enrollment_id: Uuid,
    /// Its contact.
    pub contact_id: Uuid,
    /// The contact's address.
    pub email: String,
    /// What the server said.
    pub bounce_reason: Option<String>,
    /// When it was learnt.
    pub bounced_at: Timestamp,
}

/// All that a campaign's page is made of.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The campaign.
    pub row: Model,
    /// Its steps by position.
    pub steps: Vec<sequence_steps::Model>,
    /// Its counters.
    pub counters: Counters,
    /// Its batches by number.
    pub batches: Vec<(i32, Totals)>,
    /// Its last bounces.
    pub bounces: Vec<Bounce>,
    /// Its credentials, oldest first.
    pub credentials: Vec<smtp_credentials::Model>,
    /// What they did.
    pub standings: HashMap<Uuid, Standing>,
}

/// Reads the page of a campaign.
///
/// # Errors
/// What the database refuses.
pub async fn read(scope: &Scope, row: Model, now: Timestamp) -> ApiResult<Overview> {
    let credentials = smtp_credentials::of_campaign(scope, row.id).await?;
    Ok(Overview {
        steps: sequence_steps::of_campaign(scope, row.id).await?,
        counters: counters(scope, row.id).await?,
        batches: per_batch(scope, row.id).await?,
        bounces: recent_bounces(scope, row.id).await?,
        standings: smtp_credentials::days::standings(scope, &credentials, now).await?,
        credentials,
        row,
    })
}

/// The counters of a campaign.
///
/// # Errors
/// What the database refuses.
pub async fn counters(scope: &Scope, campaign_id: Uuid) -> ApiResult<Counters> {
    // ix_campaign_totals_campaign
    let sql = "SELECT pending, sent, opened, replied, bounced, unsubscribed, sent_or_bounced, uncertain, mx_invalid, \
               cross_campaign FROM campaign_totals WHERE account_id = $1 AND campaign_id = $2";
    let Some(row) = scope.query_one(sql, [campaign_id.into()]).await? else { return Ok(Counters::default()) };
    Ok(Counters {
        totals: Totals::read(&row)?,
        sent_or_bounced: row.try_get("", "sent_or_bounced")?,
        uncertain: row.try_get("", "uncertain")?,
        mx_invalid: row.try_get("", "mx_invalid")?,
        cross_campaign: row.try_get("", "cross_campaign")?,
    })
}

/// The totals of the batches with the highest numbers, by number. Several dispatches of one number are one batch here.
///
/// # Errors
/// What the database refuses.
pub async fn per_batch(scope: &Scope, campaign_id: Uuid) -> ApiResult<Vec<(i32, Totals)>> {
    // ix_batches_campaign, backwards, which ends after the hundredth number. PostgreSQL sums bigint to numeric.
    let sql = "SELECT batch_number, CAST(SUM(pending) AS bigint) AS pending, CAST(SUM(sent) AS bigint) AS sent, \
               CAST(SUM(opened) AS bigint) AS opened, CAST(SUM(replied) AS bigint) AS replied, \
               CAST(SUM(bounced) AS bigint) AS bounced, CAST(SUM(unsubscribed) AS bigint) AS unsubscribed \
               FROM batches WHERE account_id = $1 AND campaign_id = $2 \
               GROUP BY batch_number ORDER BY batch_number DESC LIMIT $3";
    let rows = scope.query(sql, [campaign_id.into(), BATCHES_SHOWN.into()]).await?;
    rows.iter().rev().map(|row| Ok((row.try_get("", "batch_number")?, Totals::read(row)?))).collect()
}

/// The last bounces, newest first, of contacts that are still there, with the addresses that bounced.
///
/// # Errors
/// What the database refuses.
pub async fn recent_bounces(scope: &Scope, campaign_id: Uuid) -> ApiResult<Vec<Bounce>> {
    // ix_enrollments_bounced
    let sql = format!(
        "SELECT e.id, e.contact_id, {SENT_TO} AS email, e.bounce_reason, e.bounced_at FROM enrollments e \
         JOIN contacts c ON c.account_id = $1 AND c.id = e.contact_id AND c.deleted_at IS NULL \
         JOIN contact_imports i ON i.account_id = $1 AND i.id = c.contact_import_id AND i.deleted_at IS NULL \
         WHERE e.account_id = $1 AND e.campaign_id = $2 AND e.bounced_at IS NOT NULL \
         ORDER BY e.bounced_at DESC LIMIT $3"
    );
    let rows = scope.query(&sql, [campaign_id.into(), BOUNCES_SHOWN.into()]).await?;
    let read = |row: &QueryResult| {
        Ok(Bounce {
            enrollment_id: row.try_get("", "id")?,
            contact_id: row.try_get("", "contact_id")?,
            email: row.try_get("", "email")?,
            bounce_reason: row.try_get("", "bounce_reason")?,
            bounced_at: row.try_get("", "bounced_at")?,
        })
    };
    rows.iter().map(read).collect()
}
