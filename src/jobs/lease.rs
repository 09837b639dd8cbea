//! Who may run a job, and until when. Every change of a running job is guarded by its id and lease token; a guard that
//! matches no row is the answer [`Fenced::Lost`], not an error. Times are the database's.

use std::time::Duration;

use sea_orm::DbErr;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{backoff::retry_wait, sql};
use crate::{clock::new_id, db::Db};

/// How long a claim holds without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// How much of an error's text is kept, in characters.
const ERROR_LENGTH: usize = 500;

/// Expired leases that one call settles.
const EXPIRED_BATCH: i64 = 100;

/// A job that this process holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) id: Uuid,
    pub(super) token: Uuid,
    pub(super) name: String,
    pub(super) args: Json,
    pub(super) attempts: i32,
    pub(super) max_attempts: i32,
}

/// Whether a guarded change found the lease it was guarded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fenced {
    /// The lease was ours and the change is made.
    Held,
    /// Somebody else has the job, or it has ended: nothing was changed.
    Lost,
}

impl Fenced {
    const fn from_rows(changed: u64) -> Self {
        if changed > 0 { Self::Held } else { Self::Lost }
    }
}

/// Takes the most urgent due job, if there is one. One statement, so that SQLite's writer lock covers look and change.
/// Served by `ix_jobs_due (priority DESC, run_at, id) WHERE status = 'queued'`.
pub(super) async fn claim(db: &Db) -> Result<Option<Claim>, DbErr> {
    let (now, skip, token) = (sql::now(db.pool()), sql::skip_locked(db.pool()), new_id());
    let text = format!(
        "UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = $1, \
         locked_until = {now} + $2, updated_at = {now} \
         WHERE id = (SELECT id FROM jobs WHERE status = 'queued' AND run_at <= {now} \
         ORDER BY priority DESC, run_at, id LIMIT 1 {skip}) \
         RETURNING id, name, args, attempts, max_attempts"
    );
    let found = sql::write_returning(db, &text, [token.into(), sql::micros(LEASE).into()]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    Ok(Some(Claim {
        id: row.try_get("", "id")?,
        token,
        name: row.try_get("", "name")?,
        // Unreadable arguments reach the worker as null: it refuses them, and the job fails with its reason.
        args: serde_json::from_str(&row.try_get::<String>("", "args")?).unwrap_or(Json::Null),
        attempts: row.try_get("", "attempts")?,
        max_attempts: row.try_get("", "max_attempts")?,
    }))
}

/// Holds the job for another [`LEASE`] from now.
pub(super) async fn renew(db: &Db, claim: &Claim) -> Result<Fenced, DbErr> {
    let now = sql::now(db.pool());
    let text = format!(
        "UPDATE jobs SET locked_until = {now} + $3 WHERE id = $1 AND lease_token = $2 AND status = 'processing'"
    );
    let values = [claim.id.into(), claim.token.into(), sql::micros(LEASE).into()];
    sql::write(db, &text, values).await.map(Fenced::from_rows)
}

/// The work is done.
pub(super) async fn complete(db: &Db, claim: &Claim) -> Result<Fenced, DbErr> {
    let now = sql::now(db.pool());
    let text = format!(
        "UPDATE jobs SET status = 'completed', lease_token = NULL, locked_until = NULL, last_error = NULL, \
         updated_at = {now} WHERE id = $1 AND lease_token = $2 AND status = 'processing'"
    );
    sql::write(db, &text, [claim.id.into(), claim.token.into()]).await.map(Fenced::from_rows)
}

/// The attempt failed: back in the queue after a wait, or `failed` when it was the last.
pub(super) async fn fail_attempt(db: &Db, claim: &Claim, reason: &str) -> Result<Fenced, DbErr> {
    let now = sql::now(db.pool());
    let status = if claim.attempts >= claim.max_attempts { "failed" } else { "queued" };
    let text = format!(
        "UPDATE jobs SET status = '{status}', run_at = {now} + $3, last_error = $4, lease_token = NULL, \
         locked_until = NULL, updated_at = {now} WHERE id = $1 AND lease_token = $2 AND status = 'processing'"
    );
    let reason: String = reason.chars().filter(|character| *character != '\0').take(ERROR_LENGTH).collect();
    let wait = sql::micros(retry_wait(claim.attempts));
    let values = [claim.id.into(), claim.token.into(), wait.into(), reason.into()];
    sql::write(db, &text, values).await.map(Fenced::from_rows)
}

/// Settles jobs whose holder went silent: back in the queue, or `failed` when that was the last attempt.
/// Served by `ix_jobs_held (locked_until) WHERE status = 'processing'`.
pub(super) async fn settle_expired(db: &Db) -> Result<u64, DbErr> {
    let (now, skip) = (sql::now(db.pool()), sql::skip_locked(db.pool()));
    let text = format!(
        "UPDATE jobs SET status = CASE WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END, \
         last_error = 'the lease ran out', lease_token = NULL, locked_until = NULL, updated_at = {now} \
         WHERE id IN (SELECT id FROM jobs WHERE status = 'processing' AND locked_until < {now} \
         ORDER BY locked_until LIMIT $1 {skip})"
    );
    sql::write(db, &text, [EXPIRED_BATCH.into()]).await
}
