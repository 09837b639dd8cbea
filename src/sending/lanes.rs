//! Lanes as rows: which are awake and free, who holds them, and when they are to be looked at again. A lane that has
//! nothing to do has no `wake_at` and costs nothing.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, DbErr, QueryFilter as _, QueryResult};
use uuid::Uuid;

use super::ledger::{self, sql::Sql};
use crate::{
    clock::Timestamp,
    db::{Db, RowLock, lock_sql},
    errors::ApiResult,
    models::{
        campaigns,
        smtp_credentials::{self, Column, Tried},
        states::DisabledReason,
    },
    tenancy::{Conn, Scope, SystemScope},
};

/// How soon a lane whose mailbox was not read is looked at again, if its reading does not wake it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A credential that this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The credential.
    pub credential_id: Uuid,
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Connections in a row that came to nothing.
    pub failures: i32,
}

/// How a lane is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing could go: until the next thing falls due, or until it is woken.
    UntilDue,
    /// Until then: a message went out and the pause between messages is not over, or the database was away.
    Pause(Timestamp),
    /// The server could not be reached or sent us away: until then, and one failure more.
    Trouble(Timestamp),
    /// The server does not let this sender send.
    Closed {
        /// Why.
        reason: DisabledReason,
        /// The sender that it was asked for.
        tried: Tried,
    },
}

/// Takes up to `most` lanes that are awake and held by nobody, but none of `leaving`: what this process may have left
/// already it will leave once more. `ix_smtp_credentials_wake`
///
/// # Errors
/// What the database refuses.
pub async fn acquire(
    db: &Db,
    process: Uuid,
    most: usize,
    leaving: &[Uuid],
    now: Timestamp,
) -> Result<Vec<Lane>, DbErr> {
    if most == 0 || nothing_awake(db, now).await? {
        return Ok(Vec::new());
    }
    // Materialized: PostgreSQL may ask a subquery again for each row, and every time get others than those it has locked.
    let mut sql =
        Sql::new(db.backend(), "WITH awake AS MATERIALIZED (SELECT id FROM smtp_credentials WHERE ");
    sql.push("wake_at IS NOT NULL AND holder IS NULL AND wake_at <= ");
    sql.value(now.micros().into());
    sql.push(" AND next_send_at <= ");
    sql.value(now.micros().into());
    sql.push(" AND disabled_at IS NULL AND deleted_at IS NULL");
    if !leaving.is_empty() {
        sql.push(" AND NOT id");
        sql.among(leaving);
    }
    sql.push(" ORDER BY wake_at LIMIT ");
    sql.value(i64::try_from(most).unwrap_or(i64::MAX).into());
    sql.push(lock_sql(db.backend(), RowLock::UpdateSkipLocked));
    sql.push(") UPDATE smtp_credentials SET holder = ");
    sql.value(process.into());
    sql.push(
        " WHERE id IN (SELECT id FROM awake) AND holder IS NULL RETURNING id, campaign_id, account_id, failures",
    );
    SystemScope::in_transaction(db, async |system| {
        let rows = system.query(&sql.text, sql.values).await?;
        rows.iter().map(Lane::of).collect()
    })
    .await
}

/// Looked at without a write, so that an idle engine writes nothing.
async fn nothing_awake(db: &Db, now: Timestamp) -> Result<bool, DbErr> {
    let row = SystemScope::new(Conn::Pool(db.pool().clone()))
        .query_one(
            "SELECT id FROM smtp_credentials WHERE wake_at IS NOT NULL AND holder IS NULL AND wake_at <= $1 \
             AND next_send_at <= $1 AND disabled_at IS NULL AND deleted_at IS NULL LIMIT 1",
            [now.micros().into()],
        )
        .await?;
    Ok(row.is_none())
}

impl Lane {
    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            credential_id: row.try_get("", "id")?,
            campaign_id: row.try_get("", "campaign_id")?,
            account_id: row.try_get("", "account_id")?,
            failures: row.try_get("", "failures")?,
        })
    }
}

/// Leaves a lane that this process holds. When it is next worth looking at is worked out under the lock of its row: what
/// was dispatched or resumed before is seen, what comes after wakes it again.
///
/// # Errors
/// What the database refuses; the lane is then freed when this process is declared dead, or left again.
pub async fn release(
    db: &Db,
    process: Uuid,
    lane: &Lane,
    (rest, served): (&Rest, bool),
    fresh: Duration,
) -> ApiResult<()> {
    SystemScope::in_transaction(db, async |system| {
        ledger::lock_soon(system).await?;
        hold_campaign(system, lane.campaign_id).await?;
        let now = Timestamp::now();
        let scope = system.account(lane.account_id);
        let rest = unless_corrected(&scope, lane, *rest, now).await?;
        let left = leave(system, process, lane, (&rest, served), fresh, now).await?;
        match rest {
            // Left before, and the answer was lost: it may have been enabled again since.
            Rest::Closed { .. } if !left => {}
            Rest::Closed { reason, .. } => {
                let closed = smtp_credentials::disable(&scope, lane.credential_id, reason, now).await?;
                if let Some(closed) = closed {
                    let paused = closed.paused.is_some();
                    tracing::warn!(lane = %lane.credential_id, reason = reason.as_str(), paused, "credential disabled");
                }
            }
            // Also where it is to be looked at again: whoever took the last place of the plan may have sent the last message.
            Rest::UntilDue => {
                campaigns::complete_if_done(&scope, lane.campaign_id).await?;
            }
            Rest::Pause(_) | Rest::Trouble(_) => {}
        }
        Ok(())
    })
    .await
}

/// A sender that was corrected while its server refused what it was before is tried again. Whoever corrects it locks its
/// campaign, which is locked here.
async fn unless_corrected(scope: &Scope, lane: &Lane, rest: Rest, now: Timestamp) -> Result<Rest, DbErr> {
    let Rest::Closed { tried, .. } = rest else { return Ok(rest) };
    let row = scope.find::<smtp_credentials::Entity>().filter(Column::Id.eq(lane.credential_id));
    let corrected = row.one(&scope.db()).await?.is_some_and(|row| !tried.is(&row));
    if corrected {
        tracing::info!(lane = %lane.credential_id, "a credential was corrected while it was refused");
    }
    Ok(if corrected { Rest::Pause(now) } else { rest })
}

/// Keeps everybody else from the campaign's rows. Deleted ones too: their lanes are left like others.
pub(super) async fn hold_campaign(system: &SystemScope, campaign_id: Uuid) -> Result<(), DbErr> {
    let lock = lock_sql(system.backend(), RowLock::Update);
    let sql = format!("SELECT id FROM campaigns WHERE id = $1{lock}");
    system.query(&sql, [campaign_id.into()]).await.map(drop)
}

/// The lane's row as it is left; answers whether it was still held. The pause that a mark stored is never shortened: a lane
/// in trouble may have sent what it marked.
async fn leave(
    system: &SystemScope,
    process: Uuid,
    lane: &Lane,
    (rest, served): (&Rest, bool),
    fresh: Duration,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let (wake, next_send) = match rest {
        Rest::UntilDue => (next_due(system, lane, now, fresh).await?, None),
        Rest::Pause(until) | Rest::Trouble(until) => (Some(until.micros()), Some(until.micros())),
        Rest::Closed { .. } => (None, None),
    };
    let failures = match rest {
        Rest::Trouble(_) if served => 1,
        Rest::Trouble(_) => lane.failures.saturating_add(1),
        Rest::UntilDue | Rest::Pause(_) | Rest::Closed { .. } if served => 0,
        Rest::UntilDue | Rest::Pause(_) | Rest::Closed { .. } => lane.failures,
    };
    let left = system
        .execute(
            "UPDATE smtp_credentials SET holder = NULL, \
             wake_at = CASE WHEN $4 < next_send_at THEN next_send_at ELSE $3 END, \
             next_send_at = CASE WHEN $4 > next_send_at THEN $4 ELSE next_send_at END, failures = $5 WHERE id = $1 AND holder = $2",
            [lane.credential_id.into(), process.into(), wake.into(), next_send.into(), failures.into()],
        )
        .await?;
    if left == 0 {
        tracing::warn!(lane = %lane.credential_id, "a lane was no longer held when it was left");
    }
    Ok(left > 0)
}

/// When the lane's next message may go, as far as its rows tell; `None`: only when something wakes it.
async fn next_due(
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

/// Lanes that are held in the name of somebody who does not work on them.
#[derive(Clone, Copy, Debug)]
pub enum Idle<'a> {
    /// Of processes that were declared dead.
    OfDead,
    /// Of this process, but for those that are at work.
    Of(Uuid, &'a [Uuid]),
}

impl Idle<'_> {
    /// What `smtp_credentials` are held so. `ix_smtp_credentials_holder`
    fn narrow(self, sql: &mut Sql) {
        match self {
            Self::OfDead => sql.push(
                "holder IS NOT NULL AND holder IN (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL)",
            ),
            Self::Of(process, at_work) => {
                sql.push("holder = ");
                sql.value(process.into());
                if !at_work.is_empty() {
                    sql.push(" AND NOT id");
                    sql.among(at_work);
                }
            }
        }
    }
}

/// Frees lanes that nobody works on. It has no campaign locked, so it must not wait for rows: those that are locked stay
/// as they are, to be looked at again.
///
/// # Errors
/// What the database refuses.
pub async fn free(system: &SystemScope, whose: Idle<'_>, now: Timestamp) -> Result<u64, DbErr> {
    let mut sql = Sql::new(system.backend(), "UPDATE smtp_credentials SET holder = NULL, wake_at = ");
    sql.value(now.micros().into());
    sql.push(" WHERE id IN (SELECT id FROM smtp_credentials WHERE ");
    whose.narrow(&mut sql);
    sql.push(" ORDER BY id");
    sql.push(lock_sql(system.backend(), RowLock::UpdateSkipLocked));
    sql.push(")");
    system.execute(&sql.text, sql.values).await
}

/// How many lanes nobody works on.
///
/// # Errors
/// What the database refuses.
pub async fn count_idle(system: &SystemScope, whose: Idle<'_>) -> Result<i64, DbErr> {
    let mut sql = Sql::new(system.backend(), "SELECT count(*) AS idle FROM smtp_credentials WHERE ");
    whose.narrow(&mut sql);
    match system.query_one(&sql.text, sql.values).await? {
        Some(row) => row.try_get("", "idle"),
        None => Ok(0),
    }
}
