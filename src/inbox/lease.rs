//! Mailboxes as leases: which are due, who reads one, and how it is left. A lease ends with its time, by the database's
//! clock, or with the process that holds it.

use std::time::Duration;

use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    db::{Db, RowLock, clock_sql, lock_sql},
    errors::ApiResult,
    models::{
        mailboxes::{self, Name},
        sql::{holes, uuids},
    },
    tenancy::{Conn, SystemScope},
};

/// How long a mailbox may be read at a time; a poll ends well before.
const LEASE: Duration = Duration::from_secs(300);
/// How long a mailbox is left alone, from when it was taken, that was not left by who took it: what it holds may have ended
/// a process. Less than it takes to know of a dead one, since most end for other reasons; doubled each time.
const ABANDONED_WAIT: Duration = Duration::from_secs(10);
/// How often that doubles before it is the longest.
const DOUBLINGS: i32 = 8;
/// The longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(1800);
/// Rows of one look for credentials without a mailbox.
const AT_ONCE: i64 = 200;

/// A mailbox that this process reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its row.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// What proves that it is held.
    pub token: Uuid,
    /// Where it is.
    pub name: Name,
    /// The UIDVALIDITY that `last_uid` belongs to; none before the first reading.
    pub uid_validity: Option<i64>,
    /// Up to where it was read.
    pub last_uid: i64,
    /// Polls in a row that failed, or were begun and never ended.
    pub failures: i32,
}

/// How a poll ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Read to its end at this time.
    Read(Timestamp),
    /// There is more: at once again.
    More,
    /// Nothing was ever sent through its credentials: there is nothing to look for.
    Idle,
    /// It could not be read, for this reason.
    Failed(&'static str),
}

/// Takes mailboxes that are due and that nobody reads, of accounts other than these. Each is due again only later, should
/// whoever takes it not live to leave it; the next one to take it counts that as a failure. `ix_mailboxes_due`
///
/// # Errors
/// What the database refuses.
pub async fn claim(
    db: &Db,
    process: Uuid,
    most: usize,
    crowded: &[Uuid],
    now: Timestamp,
) -> ApiResult<Vec<Leased>> {
    let clock = clock_sql(db.backend());
    let free = |first: usize| {
        let others = match crowded.len() {
            0 => String::new(),
            count => format!(" AND account_id NOT IN ({})", holes(first, count)),
        };
        format!(
            "next_poll_at <= $1{others} AND (leased_until IS NULL OR leased_until < (SELECT {clock}) OR process_id IN \
             (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL))"
        )
    };
    // Looked at without a write, so that an idle engine writes nothing.
    let look = format!("SELECT id FROM mailboxes WHERE {} LIMIT 1", free(2));
    let reading = SystemScope::new(Conn::Pool(db.pool().clone()));
    let due_now = std::iter::once(now.micros().into()).chain(uuids(crowded));
    if most == 0 || reading.query_one(&look, due_now).await?.is_none() {
        return Ok(Vec::new());
    }
    let free = free(8);
    let lock = lock_sql(db.backend(), RowLock::UpdateSkipLocked);
    // Materialized, as where lanes are taken: or PostgreSQL may take more than it is asked for.
    let sql = format!(
        "WITH due AS MATERIALIZED (SELECT id AS due_id, \
         failures + CASE WHEN lease_token IS NULL THEN 0 ELSE 1 END AS counted \
         FROM mailboxes WHERE {free} ORDER BY next_poll_at LIMIT $5{lock}) \
         UPDATE mailboxes SET process_id = $2, lease_token = $3, leased_until = (SELECT {clock}) + $4, failures = counted, \
         next_poll_at = $1 + CASE WHEN counted < {DOUBLINGS} THEN CAST($6 AS bigint) << counted ELSE $7 END \
         FROM due WHERE id = due_id \
         RETURNING id, account_id, host, port, username, uid_validity, last_uid, failures"
    );
    // One token for all that are taken together: each is guarded by its own id beside it.
    let token = new_id();
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    SystemScope::in_transaction(db, async |system| {
        let waits = [micros(ABANDONED_WAIT).into(), micros(LONGEST_WAIT).into()];
        let values = [now.micros().into(), process.into(), token.into(), micros(LEASE).into(), most.into()];
        let rows = system.query(&sql, values.into_iter().chain(waits).chain(uuids(crowded))).await?;
        Ok(rows.iter().map(|row| Leased::of(row, token)).collect::<Result<_, DbErr>>()?)
    })
    .await
}

impl Leased {
    fn of(row: &QueryResult, token: Uuid) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get("", "id")?,
            account_id: row.try_get("", "account_id")?,
            token,
            name: Name {
                host: row.try_get("", "host")?,
                port: row.try_get("", "port")?,
                username: row.try_get("", "username")?,
            },
            uid_validity: row.try_get("", "uid_validity")?,
            last_uid: row.try_get("", "last_uid")?,
            failures: row.try_get("", "failures")?,
        })
    }
}

/// The wait after so many failures in a row: the usual one doubled each time; pure.
fn wait_after(failures: i32, every: Duration) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 16)).unwrap_or(0);
    let first = every.min(Duration::from_secs(30));
    first.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT.max(every))
}

/// Leaves a mailbox. One that was read to its end wakes the lanes that waited for it, in the same commit.
///
/// # Errors
/// What the database refuses; the lease then ends with its time.
pub async fn leave(db: &Db, leased: &Leased, left: &Left, every: Duration, now: Timestamp) -> ApiResult<()> {
    SystemScope::in_transaction(db, async |system| {
        let scope = system.account(leased.account_id);
        let (next, read_at, error) = match left {
            Left::Read(at) => (now.plus(every), Some(at.micros()), None),
            Left::More => (now, None, None),
            Left::Idle => (now.plus(every), None, None),
            Left::Failed(word) => {
                (now.plus(wait_after(leased.failures.saturating_add(1), every)), None, Some(*word))
            }
        };
        let failures = if error.is_some() { leased.failures.saturating_add(1) } else { 0 };
        let sql = "UPDATE mailboxes SET next_poll_at = $4, last_read_at = coalesce($5, last_read_at), last_error = $6, \
                   failures = $7, process_id = NULL, lease_token = NULL, leased_until = NULL \
                   WHERE account_id = $1 AND id = $2 AND lease_token = $3";
        let values = [
            leased.id.into(),
            leased.token.into(),
            next.micros().into(),
            read_at.into(),
            error.into(),
            failures.into(),
        ];
        if scope.execute(sql, values).await? == 1 && read_at.is_some() {
            wake_lanes(system, leased, now).await?;
        }
        Ok(())
    })
    .await
}

/// Wakes the lanes whose follow-ups are due. It has no campaign locked, and a mailbox: lanes that somebody holds are left
/// out rather than waited for. They look again by themselves, half a minute after they asked for the mailbox at the latest.
async fn wake_lanes(system: &SystemScope, leased: &Leased, now: Timestamp) -> ApiResult<()> {
    // ix_smtp_credentials_mailbox, ix_enrollments_due
    let lock = lock_sql(system.backend(), RowLock::UpdateSkipLocked);
    let sql = format!(
        "UPDATE smtp_credentials SET wake_at = $5 WHERE account_id = $1 AND id IN (SELECT s.id FROM smtp_credentials s \
         WHERE s.account_id = $1 AND s.imap_username = $2 AND lower(s.imap_host) = $3 AND s.imap_port = $4 \
         AND s.disabled_at IS NULL AND s.deleted_at IS NULL AND (s.wake_at IS NULL OR s.wake_at > $5) \
         AND EXISTS (SELECT 1 FROM enrollments e WHERE e.smtp_credential_id = s.id AND e.progress = 'waiting' \
             AND e.due_at <= $5) ORDER BY s.id{lock})"
    );
    let Name { host, port, username } = &leased.name;
    let values = [username.clone().into(), host.clone().into(), (*port).into(), now.micros().into()];
    system.account(leased.account_id).execute(&sql, values).await?;
    Ok(())
}

/// Gives back what this process's loop holds, or an earlier run of it held: due at once, for it was not what it reads that
/// ended the reading.
///
/// # Errors
/// What the database refuses.
pub async fn free(db: &Db, process: Uuid) -> ApiResult<()> {
    SystemScope::in_transaction(db, async |system| {
        let order = mailboxes::lock_order_sql(db.backend());
        let lock = lock_sql(db.backend(), RowLock::Update);
        let sql = format!(
            "UPDATE mailboxes SET process_id = NULL, lease_token = NULL, leased_until = NULL, \
             next_poll_at = CASE WHEN next_poll_at > $2 THEN $2 ELSE next_poll_at END WHERE id IN \
             (SELECT id FROM mailboxes WHERE process_id = $1 ORDER BY account_id, {order}{lock})"
        );
        system.execute(&sql, [process.into(), Timestamp::now().micros().into()]).await?;
        Ok(())
    })
    .await
}

/// Makes the rows of mailboxes that credentials name and that have none (credentials of before there were such rows).
///
/// # Errors
/// What the database refuses.
pub async fn adopt_missing(db: &Db, now: Timestamp) -> ApiResult<()> {
    let sql = "SELECT DISTINCT s.account_id, lower(s.imap_host) AS host, s.imap_port, s.imap_username \
               FROM smtp_credentials s JOIN campaigns k ON k.id = s.campaign_id AND k.deleted_at IS NULL \
               WHERE s.imap_username IS NOT NULL AND s.imap_host IS NOT NULL AND s.imap_port IS NOT NULL \
               AND s.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM mailboxes m WHERE m.account_id = s.account_id \
                   AND m.host = lower(s.imap_host) AND m.port = s.imap_port AND m.username = s.imap_username) LIMIT $1";
    let missing = SystemScope::new(Conn::Pool(db.pool().clone())).query(sql, [AT_ONCE.into()]).await?;
    for row in &missing {
        let name = Name {
            host: row.try_get("", "host")?,
            port: row.try_get("", "imap_port")?,
            username: row.try_get("", "imap_username")?,
        };
        let account: Uuid = row.try_get("", "account_id")?;
        SystemScope::in_transaction(db, async |system| {
            mailboxes::adopt(&system.account(account), &name, now).await
        })
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_mailbox_is_left_alone_longer_each_time() {
        let every = Duration::from_secs(120);
        let waits: Vec<u64> = (1..=8).map(|failures| wait_after(failures, every).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(wait_after(1, Duration::from_secs(2)).as_secs(), 2);
    }
}
