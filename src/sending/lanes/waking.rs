//! When a lane that found nothing to send is worth looking at again.

use std::time::Duration;

use sea_orm::DbErr;
use uuid::Uuid;

use super::Lane;
use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    tenancy::SystemScope,
};

/// How soon a lane whose mailbox was not read is looked at again, if its reading does not wake it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// When the lane's next message may go, as far as its rows tell; `None`: only when something wakes it.
pub(super) async fn next_due(
    system: &SystemScope,
    lane: &Lane,
    now: Timestamp,
    fresh: Duration,
) -> Result<Option<i64>, DbErr> {
    let active = system
        .query_one(
            "SELECT s.daily_limit, coalesce(d.reserved + d.first_sends, 0) AS taken FROM smtp_credentials s \
             JOIN campaigns k ON k.account_id = s.account_id AND k.id = s.campaign_id \
             LEFT JOIN credential_days d ON d.smtp_credential_id = s.id AND d.day = $2 \
             WHERE s.id = $1 AND s.disabled_at IS NULL AND s.deleted_at IS NULL \
             AND k.status = 'active' AND k.deleted_at IS NULL",
            [lane.credential_id.into(), now.day().into()],
        )
        .await?;
    let Some(active) = active else { return Ok(None) };
    let day_left = active.try_get::<i32>("", "daily_limit")? > active.try_get::<i32>("", "taken")?;
    let tomorrow = Timestamp::from_day(now.day() + 1).micros();
    // ix_enrollments_due, once for later steps and once for retries of first steps
    let later = earliest(
        system,
        "SELECT min(due_at) AS due FROM enrollments WHERE smtp_credential_id = $1 AND progress = 'waiting' \
         AND next_position > 1",
        lane.credential_id,
    )
    .await?;
    let later = match later {
        Some(due) => Some(due.max(mailbox_read_by(system, lane, now, fresh, due).await?)),
        None => None,
    };
    let retried = earliest(
        system,
        "SELECT min(due_at) AS due FROM enrollments WHERE smtp_credential_id = $1 AND progress = 'waiting' \
         AND next_position = 1",
        lane.credential_id,
    )
    .await?;
    // ix_batches_startable
    let first = earliest(
        system,
        "SELECT min(due_at) AS due FROM batches WHERE campaign_id = $1 AND dispatched_at IS NOT NULL AND NOT drained",
        lane.campaign_id,
    )
    .await?;
    let firsts = [retried, first].into_iter().flatten().min();
    let firsts = if day_left { firsts } else { firsts.map(|due| due.max(tomorrow)) };
    let Some(due) = [later, firsts].into_iter().flatten().min() else { return Ok(None) };
    if due > now.micros() {
        return Ok(Some(due));
    }
    // Due, and yet nothing was taken: the plan is used up, or somebody else holds the rows.
    blocked_until(system, lane, now).await.map(Some)
}

/// When follow-ups may go as far as the lane's mailbox allows. One that was not read lately is asked to be read at once,
/// and wakes the lane then; the time is for the case that this is lost.
async fn mailbox_read_by(
    system: &SystemScope,
    lane: &Lane,
    now: Timestamp,
    fresh: Duration,
    due: i64,
) -> Result<i64, DbErr> {
    if due > now.micros() {
        return Ok(due);
    }
    let row = system
        .query_one(
            "SELECT m.id, m.last_read_at, m.failures FROM smtp_credentials s \
             LEFT JOIN mailboxes m ON m.account_id = s.account_id AND m.host = lower(s.imap_host) \
             AND m.port = s.imap_port AND m.username = s.imap_username \
             WHERE s.id = $1 AND s.imap_username IS NOT NULL",
            [lane.credential_id.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(due) };
    let read_at = row.try_get::<Option<Timestamp>>("", "last_read_at")?.unwrap_or_default();
    if read_at >= now.minus(fresh) {
        return Ok(due);
    }
    // One that fails keeps its waits.
    if let (Some(id), Some(0)) =
        (row.try_get::<Option<Uuid>>("", "id")?, row.try_get::<Option<i32>>("", "failures")?)
    {
        // The lane, which is left in this transaction, comes before its mailbox in the order of locks.
        let lock = lock_sql(system.backend(), RowLock::Update);
        let sql = format!("SELECT id FROM smtp_credentials WHERE id = $1{lock}");
        system.query(&sql, [lane.credential_id.into()]).await?;
        let sql = "UPDATE mailboxes SET next_poll_at = $2 WHERE id = $1 AND next_poll_at > $2";
        system.execute(sql, [id.into(), now.micros().into()]).await?;
    }
    Ok(now.plus(LOOK_AGAIN).micros())
}

async fn earliest(system: &SystemScope, sql: &str, id: Uuid) -> Result<Option<i64>, DbErr> {
    match system.query_one(sql, [id.into()]).await? {
        Some(row) => row.try_get("", "due"),
        None => Ok(None),
    }
}

/// The next period where the plan is used up; soon again where sends that are on their way may yet come back.
async fn blocked_until(system: &SystemScope, lane: &Lane, now: Timestamp) -> Result<i64, DbErr> {
    let row = system
        .query_one(
            "SELECT p.sends, p.reserved, p.period_end, l.monthly_limit FROM account_periods p \
             JOIN accounts a ON a.id = p.account_id JOIN plans l ON l.id = a.plan_id \
             WHERE p.account_id = $1 AND p.period_start <= $2 AND p.period_end > $2 \
             ORDER BY p.period_start DESC LIMIT 1",
            [lane.account_id.into(), now.micros().into()],
        )
        .await?;
    let soon = now.plus(Duration::from_secs(1)).micros();
    let Some(row) = row else { return Ok(soon) };
    let (sends, limit) = (row.try_get::<i64>("", "sends")?, row.try_get::<i64>("", "monthly_limit")?);
    let end: i64 = row.try_get("", "period_end")?;
    if sends >= limit {
        return Ok(end);
    }
    // What is on its way, or uncertain, has the last places, and may keep them for long.
    let full = sends + row.try_get::<i64>("", "reserved")? >= limit;
    Ok(if full { now.plus(LOOK_AGAIN).micros().min(end) } else { soon })
}
