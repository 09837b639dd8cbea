//! What an operator asks of the queue (`cargo loco jobs …`): list, cancel, clear, retry.

use std::time::Duration;

use loco_rs::bgworker::{Job, JobStatus};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde_json::Value as Json;
use uuid::Uuid;

use super::sql;
use crate::clock::Timestamp;

/// The most jobs that one listing shows, newest first.
const LISTED: i64 = 1_000;

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

/// Cancels what is queued under `name`; running jobs go on.
pub(super) async fn cancel(conn: &impl ConnectionTrait, name: &str) -> Result<u64, DbErr> {
    let now = sql::now(conn);
    let text = format!(
        "UPDATE jobs SET status = 'cancelled', updated_at = {now} WHERE name = $1 AND status = 'queued'"
    );
    sql::execute(conn, &text, [name.into()]).await
}

/// Deletes jobs in one of `statuses` (all if none is named) that are at least `age` old.
pub(super) async fn clear(
    conn: &impl ConnectionTrait,
    statuses: Option<&[JobStatus]>,
    age: Duration,
) -> Result<u64, DbErr> {
    let (now, names) = (sql::now(conn), names_of(statuses));
    let text = format!("DELETE FROM jobs WHERE status IN ({names}) AND created_at <= {now} - $1");
    sql::execute(conn, &text, [sql::micros(age).into()]).await
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

/// Gives failed jobs, or the one with `id`, all their attempts again.
pub(super) async fn retry(conn: &impl ConnectionTrait, id: Option<Uuid>) -> Result<u64, DbErr> {
    let now = sql::now(conn);
    let (filter, values): (&str, Vec<Value>) = match id {
        Some(id) => (" AND id = $1", vec![id.into()]),
        None => ("", Vec::new()),
    };
    let text = format!(
        "UPDATE jobs SET status = 'queued', attempts = 0, run_at = {now}, updated_at = {now} \
         WHERE status = 'failed'{filter}"
    );
    sql::execute(conn, &text, values).await
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
