//! Lanes as rows: which endpoints have something that is due, and which process delivers to them.
//!
//! A process that is alive (by the database's clock, see `engine::process`) holds what it took; what a dead one held is
//! free. There is no queue of lanes: who has work is read off the index of what is due, so nothing can be lost.

use std::collections::BTreeSet;

use sea_orm::{DbBackend, DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{Db, key_lock_sql},
    models::sql::{holes, uuids},
    tenancy::{Conn, SystemScope},
};

/// A webhook with this many failures in a row is probed one delivery at a time, and waits in another queue.
pub const FAILING: i32 = 3;

/// An endpoint that has something to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The webhook.
    pub webhook_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Failures in a row.
    pub failures: i32,
}

/// A delivery that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The delivery.
    pub id: Uuid,
    /// What is sent.
    pub payload: String,
    /// Attempts so far, of this round.
    pub tries: i32,
    /// Attempts so far, of all.
    pub attempts: i32,
}

/// The endpoint as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub url: String,
    /// The sealed secret.
    pub secret: Vec<u8>,
}

/// Holders that are alive; a webhook of any other is free.
const ALIVE: &str = "(SELECT id FROM engine_processes WHERE dead_at IS NULL)";

/// The lanes that are free and have work. The first part walks `ix_webhook_deliveries_due` from webhook to webhook, so
/// that a million rows of one cost as much as one row.
///
/// # Errors
/// What the database refuses.
pub async fn free(db: &Db, now: Timestamp) -> Result<Vec<Lane>, DbErr> {
    let first =
        "SELECT webhook_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY webhook_id LIMIT 1";
    let next = "SELECT d.webhook_id FROM webhook_deliveries d WHERE d.state = 'pending' AND d.webhook_id > w.id \
                ORDER BY d.webhook_id LIMIT 1";
    let sql = format!(
        "WITH RECURSIVE w (id) AS (SELECT ({first}) UNION ALL SELECT ({next}) FROM w WHERE w.id IS NOT NULL) \
         SELECT h.id, h.account_id, h.consecutive_failures FROM w JOIN webhooks h ON h.id = w.id \
         WHERE h.disabled_at IS NULL AND h.deleted_at IS NULL AND (h.holder IS NULL OR h.holder NOT IN {ALIVE}) \
         AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = h.id AND d.state = 'pending' \
             AND d.due_at <= $1)"
    );
    let system = SystemScope::new(Conn::Pool(db.pool().clone()));
    system.query(&sql, [now.micros().into()]).await?.iter().map(Lane::of).collect()
}

impl Lane {
    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            webhook_id: row.try_get("", "id")?,
            account_id: row.try_get("", "account_id")?,
            failures: row.try_get("", "consecutive_failures")?,
        })
    }
}

/// Takes these lanes, as far as nobody else did meanwhile.
///
/// # Errors
/// What the database refuses.
pub async fn take(db: &Db, process: Uuid, wanted: &[Uuid]) -> Result<Vec<Lane>, DbErr> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let lock = skip_locked_sql(db.backend());
    let sql = format!(
        "UPDATE webhooks SET holder = $1 WHERE id IN (SELECT id FROM webhooks WHERE id IN ({}) \
         AND disabled_at IS NULL AND deleted_at IS NULL AND (holder IS NULL OR holder NOT IN {ALIVE}) \
         ORDER BY id{lock}) RETURNING id, account_id, consecutive_failures",
        holes(2, wanted.len())
    );
    let values = std::iter::once(process.into()).chain(uuids(wanted));
    SystemScope::in_transaction(db, async |system| {
        system.query(&sql, values).await?.iter().map(Lane::of).collect()
    })
    .await
}

/// Gives up what this process holds and does not work on; answers how many there were. Rows that somebody keeps locked are
/// left for the next time.
///
/// # Errors
/// What the database refuses.
pub async fn give_up(db: &Db, process: Uuid, at_work: &[Uuid]) -> Result<u64, DbErr> {
    let others = match at_work.len() {
        0 => String::new(),
        count => format!(" AND id NOT IN ({})", holes(2, count)),
    };
    let idle = format!("SELECT id FROM webhooks WHERE holder = $1{others} ORDER BY id");
    let values = || std::iter::once(process.into()).chain(uuids(at_work));
    // Looked at without a write: mostly there is nothing.
    let found = SystemScope::new(Conn::Pool(db.pool().clone())).query(&idle, values()).await?.len() as u64;
    if found > 0 {
        let lock = skip_locked_sql(db.backend());
        let sql = format!("UPDATE webhooks SET holder = NULL WHERE id IN ({idle}{lock})");
        SystemScope::in_transaction(db, async |system| system.execute(&sql, values()).await).await?;
    }
    Ok(found)
}

/// The endpoint of a lane as it is now. `None`: the lane is not ours any more, or is to be told nothing.
///
/// # Errors
/// What the database refuses.
pub async fn endpoint(db: &Db, process: Uuid, lane: &Lane) -> Result<Option<Endpoint>, DbErr> {
    let scope = SystemScope::new(Conn::Pool(db.pool().clone())).account(lane.account_id);
    // By the primary key.
    let sql = "SELECT url, secret FROM webhooks WHERE account_id = $1 AND id = $2 AND holder = $3 \
               AND disabled_at IS NULL AND deleted_at IS NULL";
    let row = scope.query_one(sql, [lane.webhook_id.into(), process.into()]).await?;
    row.map(|row| Ok(Endpoint { url: row.try_get("", "url")?, secret: row.try_get("", "secret")? }))
        .transpose()
}

/// What is due on a lane, oldest first and without what is at work already. `None`: there is no [`endpoint`].
///
/// # Errors
/// What the database refuses.
pub async fn due(
    db: &Db,
    process: Uuid,
    lane: &Lane,
    at_work: &BTreeSet<Uuid>,
    most: usize,
    now: Timestamp,
) -> Result<Option<Vec<Due>>, DbErr> {
    if endpoint(db, process, lane).await?.is_none() {
        return Ok(None);
    }
    let scope = SystemScope::new(Conn::Pool(db.pool().clone())).account(lane.account_id);
    // ix_webhook_deliveries_due
    let sql = "SELECT id, payload, tries, attempts FROM webhook_deliveries WHERE account_id = $1 \
               AND webhook_id = $2 AND state = 'pending' AND due_at <= $3 ORDER BY due_at LIMIT $4";
    let limit = i64::try_from(most + at_work.len()).unwrap_or(i64::MAX);
    let rows = scope.query(sql, [lane.webhook_id.into(), now.micros().into(), limit.into()]).await?;
    let mut due = Vec::with_capacity(most);
    for row in &rows {
        let id = row.try_get("", "id")?;
        if due.len() < most && !at_work.contains(&id) {
            due.push(Due {
                id,
                payload: row.try_get("", "payload")?,
                tries: row.try_get("", "tries")?,
                attempts: row.try_get("", "attempts")?,
            });
        }
    }
    Ok(Some(due))
}

/// [`key_lock_sql`] that leaves out rows which somebody else holds.
fn skip_locked_sql(backend: DbBackend) -> String {
    match key_lock_sql(backend) {
        "" => String::new(),
        lock => format!("{lock} SKIP LOCKED"),
    }
}
