//! The recorder: the one writer of a process's deliveries. What ended at the same time, on whichever lanes, is
//! committed together; a lane waits for a commit and not for a commit of its own.
//!
//! Every change is fenced: the lane must still be held by this process, and the delivery must be as it was when the
//! attempt began. So a commit whose answer was lost may be tried again, and counts nothing twice.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use sea_orm::{DbErr, Value};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    attempt::Attempted,
    schedule::{self, Health},
};
use crate::{
    clock::Timestamp,
    db::{self, Db, Sql, key_lock_sql},
    models::states::WebhookState,
    points,
    tenancy::SystemScope,
};

/// The most entries of one commit.
const MOST_PER_COMMIT: usize = 128;
/// The most attempts of one entry.
pub const MOST_PER_ENTRY: usize = 50;
/// The most rows of one statement: SQLite takes 32,766 parameters, and a row has eight.
const MOST_ROWS: usize = 1_000;
/// How long a failed commit is waited out, and how often it is tried.
const RETRY_AFTER: Duration = Duration::from_millis(200);
const TRIES: u32 = 100;

/// An attempt that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its account.
    pub account_id: Uuid,
    /// Its webhook.
    pub webhook_id: Uuid,
    /// The delivery.
    pub delivery_id: Uuid,
    /// Where it was posted.
    pub url: String,
    /// Attempts of this round before it.
    pub tries: i32,
    /// All attempts before it.
    pub attempts: i32,
    /// What became of it.
    pub attempted: Attempted,
    /// Spreads the next attempt.
    pub chance: f64,
}

/// What is to become of a lane's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It stays held.
    Keep,
    /// It is given up.
    Leave,
}

/// The database stayed away: nothing was recorded, and what was delivered may be delivered again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("webhook attempts were not recorded: {0}")]
pub struct RecordError(String);

struct Entry {
    webhook_id: Uuid,
    ended: Vec<Ended>,
    lease: Lease,
    answer: oneshot::Sender<Result<Health, RecordError>>,
}

/// Where lanes put what ended; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    entries: mpsc::Sender<Entry>,
}

impl Recorder {
    /// A recorder and its writer, which must be run.
    pub fn new(db: Db, process: Uuid) -> (Self, Writer) {
        let (entries, inbox) = mpsc::channel(4 * MOST_PER_COMMIT);
        (Self { entries }, Writer { db, process, inbox })
    }

    /// Records attempts of one lane; answers how its endpoint is doing now.
    ///
    /// # Errors
    /// When the database stayed away for long.
    pub async fn record(
        &self,
        webhook_id: Uuid,
        ended: Vec<Ended>,
        lease: Lease,
    ) -> Result<Health, RecordError> {
        let (answer, answered) = oneshot::channel();
        let gone = || RecordError("its writer has stopped".into());
        let entry = Entry { webhook_id, ended, lease, answer };
        self.entries.send(entry).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Commits what ended. Ends when every [`Recorder`] is dropped.
#[derive(Debug)]
pub struct Writer {
    db: Db,
    process: Uuid,
    inbox: mpsc::Receiver<Entry>,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub async fn run(mut self) {
        let mut gathered = Vec::with_capacity(MOST_PER_COMMIT);
        while self.inbox.recv_many(&mut gathered, MOST_PER_COMMIT).await > 0 {
            let entries = std::mem::take(&mut gathered);
            let written = self.write_until_done(&entries).await;
            for entry in entries {
                let told = match &written {
                    Ok(health) => Ok(health.get(&entry.webhook_id).copied().unwrap_or(LOST)),
                    Err(error) => Err(RecordError(error.to_string())),
                };
                // A lane that is gone has stopped with its process.
                if entry.answer.send(told).is_err() {
                    tracing::debug!("nobody waits for an answer of the recorder any more");
                }
            }
        }
    }

    async fn write_until_done(&self, entries: &[Entry]) -> Result<BTreeMap<Uuid, Health>, DbErr> {
        let mut tries = 1;
        loop {
            let written = db::in_time(SystemScope::in_transaction(&self.db, async |system| {
                let written = write(system, self.process, entries, Timestamp::now()).await;
                points::reach("webhook_before_commit");
                written
            }))
            .await;
            points::reach("webhook_after_commit");
            match written {
                Err(error) if tries < TRIES => {
                    tracing::warn!(%error, tries, "webhook attempts not recorded yet");
                    tries += 1;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                done => return done,
            }
        }
    }
}

/// How a lane that is not ours any more is told to stop.
const LOST: Health =
    Health { consecutive_failures: 0, failing_since: None, disabled_at: Some(Timestamp::from_micros(0)) };

/// Everything of one commit. Webhooks are locked in the order of their ids, then deliveries change.
async fn write(
    system: &SystemScope,
    process: Uuid,
    entries: &[Entry],
    now: Timestamp,
) -> Result<BTreeMap<Uuid, Health>, DbErr> {
    let held = held(system, process, entries).await?;
    let ended: Vec<&Ended> = entries
        .iter()
        .flat_map(|entry| &entry.ended)
        .filter(|ended| held.contains_key(&ended.webhook_id))
        .collect();
    let recorded = update_deliveries(system, &ended, now).await?;
    let ended: Vec<&Ended> = ended.into_iter().filter(|it| recorded.contains(&it.delivery_id)).collect();
    insert_attempts(system, &ended).await?;
    let before: BTreeMap<Uuid, Health> = held.iter().map(|(id, it)| (*id, it.health)).collect();
    let mut after = before.clone();
    for it in &ended {
        // What another URL answered says nothing of the one that took its place.
        let present = held.get(&it.webhook_id).is_some_and(|held| held.url == it.url);
        if let Some(health) = after.get_mut(&it.webhook_id).filter(|_| present) {
            *health = health.after(it.attempted.succeeded(), it.attempted.is_gone(), now);
        }
    }
    let leaving: HashSet<Uuid> =
        entries.iter().filter(|entry| entry.lease == Lease::Leave).map(|entry| entry.webhook_id).collect();
    update_webhooks(system, &before, &after, &leaving).await?;
    Ok(after)
}

/// A webhook as its row has it.
struct Held {
    url: String,
    health: Health,
}

/// The webhooks of these entries that this process holds, locked.
async fn held(system: &SystemScope, process: Uuid, entries: &[Entry]) -> Result<BTreeMap<Uuid, Held>, DbErr> {
    let mut ids: Vec<Uuid> = entries.iter().map(|entry| entry.webhook_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut sql = Sql::new(
        system.backend(),
        "SELECT id, url, consecutive_failures, failing_since, disabled_at FROM webhooks WHERE holder = ",
    );
    sql.value(process.into());
    sql.push(" AND deleted_at IS NULL AND id");
    sql.among(&ids);
    sql.push(" ORDER BY id");
    sql.push(key_lock_sql(system.backend()));
    let rows = system.query(&sql.text, sql.values).await?;
    let held = |row: &sea_orm::QueryResult| {
        let health = Health {
            consecutive_failures: row.try_get("", "consecutive_failures")?,
            failing_since: row.try_get("", "failing_since")?,
            disabled_at: row.try_get("", "disabled_at")?,
        };
        Ok((row.try_get("", "id")?, Held { url: row.try_get("", "url")?, health }))
    };
    rows.iter().map(held).collect()
}

/// Settles the deliveries or puts them off; answers which were as they were when their attempt began.
async fn update_deliveries(
    system: &SystemScope,
    ended: &[&Ended],
    now: Timestamp,
) -> Result<HashSet<Uuid>, DbErr> {
    let mut recorded = HashSet::new();
    for some in ended.chunks(MOST_ROWS) {
        let rows = some.iter().map(|it| delivery_row(it, now));
        let sql = Sql::with_rows(
            system.backend(),
            "v_id, v_tries, v_attempts, v_state, v_due, v_status, v_error, v_delivered",
            rows,
            "UPDATE webhook_deliveries SET state = v_state, tries = tries + 1, attempts = attempts + 1, \
             due_at = coalesce(v_due, due_at), status_code = v_status, error = v_error, \
             delivered_at = coalesce(v_delivered, delivered_at) FROM v \
             WHERE id = v_id AND tries = v_tries AND attempts = v_attempts AND state = 'pending' RETURNING id",
        );
        for row in system.query(&sql.text, sql.values).await? {
            recorded.insert(row.try_get("", "id")?);
        }
    }
    Ok(recorded)
}

fn delivery_row(it: &Ended, now: Timestamp) -> [Value; 8] {
    let attempted = &it.attempted;
    let delivered = attempted.succeeded().then_some(now.micros());
    let wait = schedule::next_wait(it.tries.saturating_add(1), it.chance, attempted.retry_after);
    let due = wait.filter(|_| delivered.is_none()).map(|wait| now.plus(wait).micros());
    let state = match (delivered, due) {
        (Some(_), _) => WebhookState::Delivered,
        (None, Some(_)) => WebhookState::Pending,
        (None, None) => WebhookState::Failed,
    };
    [
        it.delivery_id.into(),
        it.tries.into(),
        it.attempts.into(),
        state.as_str().into(),
        due.into(),
        attempted.status_code.into(),
        attempted.error.into(),
        delivered.into(),
    ]
}

async fn insert_attempts(system: &SystemScope, ended: &[&Ended]) -> Result<(), DbErr> {
    for some in ended.chunks(MOST_ROWS) {
        let mut sql = Sql::new(
            system.backend(),
            "INSERT INTO webhook_attempts (account_id, webhook_delivery_id, attempt, status_code, error, \
             duration_ms, created_at) ",
        );
        sql.rows(some.iter().map(|it| attempt_row(it)));
        system.execute(&sql.text, sql.values).await?;
    }
    Ok(())
}

/// A row of `webhook_attempts`.
pub(super) fn attempt_row(it: &Ended) -> [Value; 7] {
    [
        it.account_id.into(),
        it.delivery_id.into(),
        it.attempts.saturating_add(1).into(),
        it.attempted.status_code.into(),
        it.attempted.error.into(),
        it.attempted.duration_ms().into(),
        it.attempted.began.micros().into(),
    ]
}

/// Only what changed: a healthy endpoint's row is left alone until its lane is left.
async fn update_webhooks(
    system: &SystemScope,
    before: &BTreeMap<Uuid, Health>,
    after: &BTreeMap<Uuid, Health>,
    leaving: &HashSet<Uuid>,
) -> Result<(), DbErr> {
    let changed =
        after.iter().filter(|(id, health)| leaving.contains(*id) || before.get(*id) != Some(*health));
    let rows: Vec<[Value; 5]> = changed
        .map(|(id, health)| {
            [
                (*id).into(),
                health.consecutive_failures.into(),
                health.failing_since.map(Timestamp::micros).into(),
                health.disabled_at.map(Timestamp::micros).into(),
                i32::from(leaving.contains(id)).into(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    for (id, health) in after {
        if health.disabled_at.is_some() && before.get(id).is_some_and(|was| was.disabled_at.is_none()) {
            tracing::warn!(webhook = %id, failures = health.consecutive_failures, "webhook disabled");
        }
    }
    let sql = Sql::with_rows(
        system.backend(),
        "v_id, v_failures, v_since, v_disabled, v_leaves",
        rows,
        "UPDATE webhooks SET consecutive_failures = v_failures, failing_since = v_since, \
         disabled_at = v_disabled, holder = CASE WHEN v_leaves = 1 THEN NULL ELSE holder END \
         FROM v WHERE id = v_id",
    );
    system.execute(&sql.text, sql.values).await.map(drop)
}
