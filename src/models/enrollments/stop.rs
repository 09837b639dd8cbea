//! Ending sequences: an unsubscribe, a reply, a bounce or a deleted contact. The only place that does.
//!
//! A claimed enrollment keeps its place: the send path looks again in the transaction of its mark. An uncertain one
//! keeps it too, because its delivery must be settled.

use std::collections::BTreeSet;

use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    errors::{ApiError, ApiResult, Code},
    models::{
        campaigns,
        former_addresses::ENROLLED_AS,
        sql::{holes, uuids},
        states::{EnrollmentStatus, EventType, Progress},
        tally::{Delta, Tally},
        webhooks::outbox::{self, Happened},
    },
    tenancy::Scope,
};

/// Ids that one statement names.
const CHUNK: usize = 500;

/// Why nothing more is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The contact unsubscribed.
    Unsubscribed,
    /// The contact, or its import, was deleted.
    Deleted,
    /// The contact answered.
    Replied,
    /// The address bounced.
    Bounced {
        /// The step whose message came back.
        position: i32,
        /// What the server or the notice said.
        reason: String,
    },
}

impl Stop {
    const fn status(&self) -> Option<EnrollmentStatus> {
        match self {
            Self::Unsubscribed => Some(EnrollmentStatus::Unsubscribed),
            Self::Replied => Some(EnrollmentStatus::Replied),
            Self::Bounced { .. } => Some(EnrollmentStatus::Bounced),
            Self::Deleted => None,
        }
    }

    /// What webhooks are told of an enrollment to which it happens for the first time.
    const fn event(&self) -> Option<EventType> {
        match self {
            Self::Unsubscribed => Some(EventType::EnrollmentUnsubscribed),
            Self::Replied => Some(EventType::EnrollmentReplied),
            Self::Bounced { .. } => Some(EventType::EnrollmentBounced),
            Self::Deleted => None,
        }
    }
}

/// An enrollment as it stood before it is stopped.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether a column is set")]
struct Before {
    id: Uuid,
    campaign_id: Uuid,
    batch_id: Uuid,
    status: EnrollmentStatus,
    progress: Progress,
    dispatched: bool,
    sent: bool,
    replied: bool,
    bounced: bool,
    unsubscribed: bool,
}

impl Before {
    fn read(row: &QueryResult) -> ApiResult<Self> {
        let is_set = |column: &str| row.try_get::<Option<i64>>("", column).map(|at| at.is_some());
        Ok(Self {
            id: row.try_get("", "id")?,
            campaign_id: row.try_get("", "campaign_id")?,
            batch_id: row.try_get("", "batch_id")?,
            status: row.try_get("", "status")?,
            progress: row.try_get("", "progress")?,
            dispatched: is_set("dispatched_at")?,
            sent: is_set("sent_at")?,
            replied: is_set("replied_at")?,
            bounced: is_set("bounced_at")?,
            unsubscribed: is_set("unsubscribed_at")?,
        })
    }

    /// Whether the send path may be told now, rather than finding out at its mark.
    const fn ends_now(self) -> bool {
        matches!(self.progress, Progress::Queued | Progress::Waiting)
    }

    const fn has_reached(self, status: EnrollmentStatus) -> bool {
        match status {
            EnrollmentStatus::Replied => self.replied,
            EnrollmentStatus::Bounced => self.bounced,
            EnrollmentStatus::Unsubscribed => self.unsubscribed,
            EnrollmentStatus::Pending | EnrollmentStatus::Sent | EnrollmentStatus::Opened => true,
        }
    }

    /// What webhooks are told; pure. Of an unsubscribe where nothing else had stopped the enrollment.
    fn happened(self, stop: &Stop) -> Option<Happened> {
        let (event, status) = stop.event().zip(stop.status())?;
        if matches!(stop, Stop::Unsubscribed) && (self.replied || self.bounced) {
            return None;
        }
        let position = match stop {
            Stop::Bounced { position, .. } => Some(*position),
            Stop::Unsubscribed | Stop::Deleted | Stop::Replied => None,
        };
        (!self.has_reached(status)).then_some(Happened { event, enrollment_id: self.id, position })
    }

    /// What stopping changes in the counters; pure.
    fn delta(self, stop: &Stop) -> Delta {
        let mut delta = Delta::NONE;
        if matches!(self.progress, Progress::Queued) && !self.dispatched {
            delta.undispatched = -1;
        }
        let Some(status) = stop.status() else {
            // A deleted contact is no longer waited for; one that is claimed still may be sent to.
            if self.ends_now() && self.status == EnrollmentStatus::Pending {
                delta.pending = -1;
            }
            return delta;
        };
        // A row that was deleted before has left `pending` then: see above.
        if self.status == EnrollmentStatus::Pending && self.progress != Progress::Finished {
            delta.pending = -1;
        }
        if !self.has_reached(status) {
            delta.add(Delta::reached(status));
            if status == EnrollmentStatus::Bounced && !self.sent {
                delta.sent_or_bounced = 1;
            }
        }
        delta
    }
}

/// Stops what the contacts are enrolled in and has not ended, but for deleted campaigns; answers how many enrollments changed.
///
/// # Errors
/// What the database refuses.
pub async fn stop_contacts(
    scope: &Scope,
    contact_ids: &[Uuid],
    stop: Stop,
    now: Timestamp,
) -> ApiResult<u64> {
    let mut found = Vec::new();
    for chunk in contact_ids.chunks(CHUNK) {
        // ix_enrollments_contact
        let sql = format!(
            "SELECT id, campaign_id, batch_id, contact_id FROM enrollments WHERE account_id = $1 AND contact_id IN ({}) \
             AND progress <> 'finished' \
             AND (SELECT k.deleted_at FROM campaigns k WHERE k.id = enrollments.campaign_id) IS NULL",
            holes(2, chunk.len())
        );
        found.extend(scope.query(&sql, uuids(chunk)).await?);
    }
    stop_found(scope, &found, &stop, now).await
}

/// Stops what goes to an address that unsubscribes, but for deleted campaigns; answers how many enrollments changed. It counts
/// for every enrollment that has more to send to it, or was sent to, also where a reply or a bounce had stopped it, or the
/// contact has another address by now.
///
/// # Errors
/// What the database refuses.
pub async fn stop_address(scope: &Scope, email: &str, now: Timestamp) -> ApiResult<u64> {
    let sql = format!(
        "SELECT e.id, e.campaign_id, e.batch_id, e.contact_id FROM {ENROLLED_AS} e \
         WHERE (e.progress <> 'finished' OR e.status NOT IN ('pending', 'unsubscribed')) \
         AND (SELECT k.deleted_at FROM campaigns k WHERE k.id = e.campaign_id) IS NULL"
    );
    let found = scope.query(&sql, [email.to_ascii_lowercase().into()]).await?;
    stop_found(scope, &found, &Stop::Unsubscribed, now).await
}

/// Stops those of these enrollments that have more to send.
///
/// # Errors
/// What the database refuses.
pub async fn stop_some(scope: &Scope, ids: &[Uuid], stop: Stop, now: Timestamp) -> ApiResult<u64> {
    let mut found = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let sql = format!(
            "SELECT id, campaign_id, batch_id, contact_id FROM enrollments WHERE account_id = $1 AND id IN ({}) \
             AND progress <> 'finished'",
            holes(2, chunk.len())
        );
        found.extend(scope.query(&sql, uuids(chunk)).await?);
    }
    stop_found(scope, &found, &stop, now).await
}

/// Stops one enrollment, finished or not: what happened to it is kept either way.
///
/// # Errors
/// `not_found` when the account has no such enrollment.
pub async fn stop_one(scope: &Scope, enrollment_id: Uuid, stop: Stop, now: Timestamp) -> ApiResult<()> {
    let sql =
        "SELECT id, campaign_id, batch_id, contact_id FROM enrollments WHERE account_id = $1 AND id = $2";
    let found = scope.query(sql, [enrollment_id.into()]).await?;
    if found.is_empty() {
        return Err(ApiError::new(Code::NotFound));
    }
    stop_found(scope, &found, &stop, now).await.map(|_| ())
}

/// Locks campaigns, batches, contacts and enrollments in their order, then changes counters and rows together.
async fn stop_found(scope: &Scope, found: &[QueryResult], stop: &Stop, now: Timestamp) -> ApiResult<u64> {
    let ids = |column: &str| -> Result<Vec<Uuid>, sea_orm::DbErr> {
        let distinct = found.iter().map(|row| row.try_get("", column)).collect::<Result<BTreeSet<_>, _>>()?;
        Ok(distinct.into_iter().collect())
    };
    let campaigns = ids("campaign_id")?;
    lock_all(scope, "campaigns", "id", &campaigns).await?;
    lock_all(scope, "batches", "id", &ids("batch_id")?).await?;
    lock_all(scope, "campaign_totals", "campaign_id", &campaigns).await?;
    lock_all(scope, "contacts", "id", &ids("contact_id")?).await?;
    let (mut tally, mut happened, mut changed) = (Tally::default(), Vec::new(), 0);
    for chunk in ids("id")?.chunks(CHUNK) {
        let before = lock_enrollments(scope, chunk).await?;
        for row in &before {
            tally.add(row.batch_id, row.campaign_id, row.delta(stop));
        }
        happened.extend(before.iter().filter_map(|row| row.happened(stop)));
        changed += write_stop(scope, &before, stop, now).await?;
    }
    tally.write(scope).await?;
    for campaign in campaigns {
        campaigns::complete_if_done(scope, campaign).await?;
    }
    outbox::enrollments(scope, &happened, now).await?;
    Ok(changed)
}

async fn lock_all(scope: &Scope, table: &str, key: &str, ids: &[Uuid]) -> ApiResult<()> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    if lock.is_empty() {
        return Ok(());
    }
    for chunk in ids.chunks(CHUNK) {
        let holes = holes(2, chunk.len());
        let sql = format!(
            "SELECT {key} FROM {table} WHERE account_id = $1 AND {key} IN ({holes}) ORDER BY {key}{lock}"
        );
        scope.query(&sql, uuids(chunk)).await?;
    }
    Ok(())
}

async fn lock_enrollments(scope: &Scope, ids: &[Uuid]) -> ApiResult<Vec<Before>> {
    let lock = match lock_sql(scope.backend(), RowLock::Update) {
        "" => String::new(),
        lock => format!("{lock} OF e"),
    };
    let sql = format!(
        "SELECT e.id, e.campaign_id, e.batch_id, e.status, e.progress, b.dispatched_at, e.sent_at, e.replied_at, \
         e.bounced_at, e.unsubscribed_at FROM enrollments e JOIN batches b ON b.id = e.batch_id \
         WHERE e.account_id = $1 AND e.id IN ({}) ORDER BY e.id{lock}",
        holes(2, ids.len())
    );
    scope.query(&sql, uuids(ids)).await?.iter().map(Before::read).collect()
}

/// Raises the status, keeps the first time stamp, ends what waits, and skips the deliveries that waited with it.
async fn write_stop(scope: &Scope, rows: &[Before], stop: &Stop, now: Timestamp) -> ApiResult<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let (reached, mut values) = reached_sql(stop, now);
    let list = holes(2 + values.len(), ids.len());
    values.extend(uuids(&ids));
    let sql = format!(
        "UPDATE enrollments SET {reached}due_at = CASE WHEN progress IN ('queued', 'waiting') THEN NULL ELSE due_at END, \
         progress = CASE WHEN progress IN ('queued', 'waiting') THEN 'finished' ELSE progress END \
         WHERE account_id = $1 AND id IN ({list})"
    );
    let changed = scope.execute(&sql, values).await?;
    let ended: Vec<Uuid> = rows.iter().filter(|row| row.ends_now()).map(|row| row.id).collect();
    if !ended.is_empty() {
        // uq_deliveries_step
        let sql = format!(
            "UPDATE deliveries SET state = 'skipped' WHERE account_id = $1 AND enrollment_id IN ({}) \
             AND state IN ('queued', 'deferred')",
            holes(2, ended.len())
        );
        scope.execute(&sql, uuids(&ended)).await?;
    }
    Ok(changed)
}

/// The columns that a status sets; it is raised only, and a time stamp stays the first.
fn reached_sql(stop: &Stop, now: Timestamp) -> (String, Vec<Value>) {
    let Some(status) = stop.status() else { return (String::new(), vec![]) };
    let lower: Vec<String> = EnrollmentStatus::ALL
        .iter()
        .filter(|known| known.can_become(status))
        .map(|known| format!("'{}'", known.as_str()))
        .collect();
    let word = status.as_str();
    let mut sql = format!(
        "status = CASE WHEN status IN ({}) THEN '{word}' ELSE status END, {word}_at = COALESCE({word}_at, $2), ",
        lower.join(", ")
    );
    let mut values = vec![now.micros().into()];
    if let Stop::Bounced { reason, .. } = stop {
        sql.push_str("bounce_reason = COALESCE(bounce_reason, $3), ");
        values.push(reason.clone().into());
    }
    (sql, values)
}
