//! What an operator asks of the queue (`cargo loco jobs …`, `cargo loco task jobs_…`): list, cancel, clear, retry.

use std::{iter, time::Duration};

use loco_rs::bgworker::{Job, JobStatus};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{READ_TABLE, handlers::Handlers, sql};
use crate::{
    clock::Timestamp,
    db::{Db, RowLock, lock_sql},
    errors::ApiResult,
    tenancy::SystemScope,
};

/// The most jobs that one listing shows, newest first.
const LISTED: i64 = 1_000;

/// Jobs that one transaction cancels or clears.
const ENDED_BATCH: i64 = 100;

/// All states, for callers that name none.
const EVERY_STATUS: [JobStatus; 5] =
    [JobStatus::Queued, JobStatus::Processing, JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled];

/// Jobs in one of `statuses` (all if none is named) that are at least `age` old, newest first, at most 1,000.
pub(super) async fn list(
    conn: &impl ConnectionTrait,
    statuses: Option<&[JobStatus]>,
    age: Duration,
) -> Result<Vec<Job>, DbErr> {
    let (now, names) = (sql::now(conn), names_of(statuses));
    let text = format!(
        "SELECT id, name, args, status, run_at, created_at, updated_at, priority FROM jobs \
         WHERE status IN ({names}) AND created_at <= {now} - $1 ORDER BY id DESC LIMIT $2"
    );
    let found = sql::rows(conn, &text, [sql::micros(age).into(), LISTED.into()]).await?;
    found.iter().map(to_loco).collect()
}

/// Cancels what is queued under `name`, and gives up what waits for it; running jobs go on.
pub(super) async fn cancel(db: &Db, handlers: &Handlers, name: &str) -> ApiResult<()> {
    let (now, lock) = (sql::now(db.pool()), lock_sql(db.backend(), RowLock::Update));
    let text = format!(
        "UPDATE jobs SET status = 'cancelled', updated_at = {now} WHERE id IN (SELECT id FROM jobs \
         WHERE name = $2 AND status = 'queued' ORDER BY id LIMIT $1{lock}) RETURNING name, args, 'queued' AS stood"
    );
    end_each(db, handlers, &text, [name.into()]).await
}

/// Deletes jobs in one of `statuses` (all if none is named) that are at least `age` old, and gives up what waits for them.
/// Whoever runs one has lost the lease.
pub(super) async fn clear(
    db: &Db,
    handlers: &Handlers,
    statuses: Option<&[JobStatus]>,
    age: Duration,
) -> ApiResult<()> {
    let (now, names, lock) =
        (sql::now(db.pool()), names_of(statuses), lock_sql(db.backend(), RowLock::Update));
    let text = format!(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status IN ({names}) \
         AND created_at <= {now} - $2 ORDER BY id LIMIT $1{lock}) RETURNING name, args, status AS stood"
    );
    end_each(db, handlers, &text, [sql::micros(age).into()]).await
}

/// Ends jobs a batch at a time, each with what follows for those that had not ended: both happen or neither.
async fn end_each<const N: usize>(
    db: &Db,
    handlers: &Handlers,
    text: &str,
    which: [Value; N],
) -> ApiResult<()> {
    loop {
        let ended = SystemScope::in_transaction(db, async |system| {
            let values = iter::once(ENDED_BATCH.into()).chain(which.clone());
            let rows = sql::rows(&system.db(), text, values).await?;
            for row in &rows {
                let stood: String = row.try_get("", "stood")?;
                let waiting = ["queued", "processing"].contains(&stood.as_str());
                let name: String = row.try_get("", "name")?;
                if let Some(given_up) = handlers.find_given_up(&name).filter(|_| waiting) {
                    let args: String = row.try_get("", "args")?;
                    given_up(system, serde_json::from_str(&args).unwrap_or(Json::Null)).await?;
                }
            }
            ApiResult::Ok(rows.len())
        })
        .await?;
        if ended == 0 {
            return Ok(());
        }
    }
}

/// Puts jobs that run for longer than `age` back in the queue; whoever runs them has lost the lease.
pub(super) async fn requeue(conn: &impl ConnectionTrait, age: Duration) -> Result<u64, DbErr> {
    let now = sql::now(conn);
    let text = format!(
        "UPDATE jobs SET status = 'queued', lease_token = NULL, locked_until = NULL, updated_at = {now} \
         WHERE status = 'processing' AND updated_at <= {now} - $1"
    );
    sql::execute(conn, &text, [sql::micros(age).into()]).await
}

/// Gives failed jobs, or the one with `id`, all their attempts again. Not those that read a table: its import has failed with
/// the job, and its text is removed.
///
/// # Errors
/// What the database refuses.
pub async fn retry(conn: &impl ConnectionTrait, id: Option<Uuid>) -> Result<u64, DbErr> {
    let now = sql::now(conn);
    let (filter, values): (&str, Vec<Value>) = match id {
        Some(id) => (" AND id = $1", vec![id.into()]),
        None => ("", Vec::new()),
    };
    let text = format!(
        "UPDATE jobs SET status = 'queued', attempts = 0, run_at = {now}, updated_at = {now} \
         WHERE status = 'failed' AND name <> '{READ_TABLE}'{filter}"
    );
    sql::execute(conn, &text, values).await
}

/// Whether a job failed that [`retry`] leaves alone.
///
/// # Errors
/// What the database refuses.
pub async fn is_final(conn: &impl ConnectionTrait, id: Uuid) -> Result<bool, DbErr> {
    let text =
        format!("SELECT 1 AS one FROM jobs WHERE id = $1 AND status = 'failed' AND name = '{READ_TABLE}'");
    Ok(!sql::rows(conn, &text, [id.into()]).await?.is_empty())
}

/// A job as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedJob {
    /// Its id.
    pub id: Uuid,
    /// The worker's class name.
    pub name: String,
    /// Where it stands.
    pub status: String,
    /// How often it was tried.
    pub attempts: i32,
    /// How often it may be.
    pub max_attempts: i32,
    /// When it may run next, or could have.
    pub run_at: Timestamp,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What it is about.
    pub args: Json,
}

/// Jobs, newest first, of a status and of a name where these are given.
///
/// # Errors
/// What the database refuses.
pub async fn find(
    conn: &impl ConnectionTrait,
    status: Option<JobStatus>,
    name: Option<&str>,
    limit: u32,
) -> Result<Vec<ListedJob>, DbErr> {
    let names = status.map_or_else(|| names_of(None), |only| names_of(Some(&[only])));
    let (filter, mut values): (&str, Vec<Value>) = (" AND name = $2", vec![i64::from(limit).into()]);
    values.extend(name.map(Value::from));
    let filter = if name.is_some() { filter } else { "" };
    let text = format!(
        "SELECT id, name, args, status, attempts, max_attempts, run_at, created_at, updated_at, last_error \
         FROM jobs WHERE status IN ({names}){filter} ORDER BY id DESC LIMIT $1"
    );
    sql::rows(conn, &text, values).await?.iter().map(to_listed).collect()
}

fn to_listed(row: &QueryResult) -> Result<ListedJob, DbErr> {
    let args: String = row.try_get("", "args")?;
    Ok(ListedJob {
        id: row.try_get("", "id")?,
        name: row.try_get("", "name")?,
        status: row.try_get("", "status")?,
        attempts: row.try_get("", "attempts")?,
        max_attempts: row.try_get("", "max_attempts")?,
        run_at: row.try_get("", "run_at")?,
        created_at: row.try_get("", "created_at")?,
        updated_at: row.try_get("", "updated_at")?,
        last_error: row.try_get("", "last_error")?,
        args: serde_json::from_str(&args).unwrap_or(Json::Null),
    })
}

/// Deletes the jobs whose arguments name an account that is erased; one that runs finds nothing to do, and goes when its
/// time is over.
///
/// # Errors
/// What the database refuses.
pub async fn forget(conn: &impl ConnectionTrait, account_id: Uuid) -> Result<u64, DbErr> {
    let text = "DELETE FROM jobs WHERE args LIKE $1 AND status <> 'processing'";
    sql::execute(conn, text, [format!("%{account_id}%").into()]).await
}

/// The states as SQL texts; they are constants of ours, so nothing needs quoting.
fn names_of(statuses: Option<&[JobStatus]>) -> String {
    let quoted: Vec<String> =
        statuses.unwrap_or(&EVERY_STATUS).iter().map(|status| format!("'{status}'")).collect();
    if quoted.is_empty() { "''".to_owned() } else { quoted.join(", ") }
}

fn to_loco(row: &QueryResult) -> Result<Job, DbErr> {
    let status: String = row.try_get("", "status")?;
    let args: String = row.try_get("", "args")?;
    let time =
        |column: &str| row.try_get("", column).map(|micros| Timestamp::from_micros(micros).to_datetime());
    Ok(Job {
        id: row.try_get::<Uuid>("", "id")?.to_string(),
        name: row.try_get("", "name")?,
        data: serde_json::from_str(&args).unwrap_or(Json::Null),
        status: status.parse().map_err(DbErr::Type)?,
        run_at: time("run_at")?,
        interval: None,
        created_at: Some(time("created_at")?),
        updated_at: Some(time("updated_at")?),
        tags: None,
        priority: row.try_get("", "priority")?,
    })
}
