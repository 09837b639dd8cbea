//! Who may run a job, and until when. Every change of a running job is guarded by its id and lease token; a guard that
//! matches no row is the answer [`Fenced::Lost`], not an error. Times are the database's.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::Value as Json;
use uuid::Uuid;

use super::{
    backoff::retry_wait,
    handlers::{GivenUp, Handlers},
    long, sql,
};
use crate::{
    clock::new_id,
    db::{self, Db},
    errors::ApiResult,
    tenancy::SystemScope,
};

/// How long a claim holds without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// How much of an error's text is kept, in characters.
const ERROR_LENGTH: usize = 500;

/// The reason of a job that was not heard of again.
const LEASE_RAN_OUT: &str = "the lease ran out";

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

impl Claim {
    fn of(row: &QueryResult, token: Uuid) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get("", "id")?,
            token,
            name: row.try_get("", "name")?,
            // Unreadable arguments reach the worker as null: it refuses them, and the job fails with its reason.
            args: serde_json::from_str(&row.try_get::<String>("", "args")?).unwrap_or(Json::Null),
            attempts: row.try_get("", "attempts")?,
            max_attempts: row.try_get("", "max_attempts")?,
        })
    }
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

/// Takes the most urgent due job that may run, if there is one; with a `place` for a job that takes long also such a one. One
/// statement, so that SQLite's writer lock covers look and change.
pub(super) async fn claim(db: &Db, place: bool) -> Result<Option<Claim>, DbErr> {
    let (now, next, token) = (sql::now(db.pool()), next_sql(db.pool(), place), new_id());
    let text = format!(
        "UPDATE jobs SET status = 'processing', attempts = attempts + 1, lease_token = $1, \
         locked_until = {now} + $2, updated_at = {now} WHERE id = ({next}) \
         RETURNING id, name, args, attempts, max_attempts"
    );
    let found = sql::write_returning(db, &text, [token.into(), sql::micros(LEASE).into()]).await?;
    found.first().map(|row| Claim::of(row, token)).transpose()
}

/// The query for the job that is claimed next. Served by `ix_jobs_due (priority DESC, run_at, id) WHERE status = 'queued'` and,
/// for what runs, `ix_jobs_held`.
pub fn next_sql(conn: &impl ConnectionTrait, place: bool) -> String {
    let (now, skip, may_run) =
        (sql::now(conn), sql::skip_locked(conn), long::may_run(sql::find(conn), place));
    format!(
        "SELECT id FROM jobs WHERE status = 'queued' AND run_at <= {now} AND {may_run} \
         ORDER BY priority DESC, run_at, id LIMIT 1 {skip}"
    )
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

/// The turn is over: back in the queue, behind what is due, as if it had not been tried. A microsecond behind what was stored in
/// the same tick of the clock, which is a millisecond on SQLite.
pub(super) async fn give_back(db: &Db, claim: &Claim) -> Result<Fenced, DbErr> {
    let now = sql::now(db.pool());
    let text = format!(
        "UPDATE jobs SET status = 'queued', run_at = {now} + 1, attempts = attempts - 1, lease_token = NULL, \
         locked_until = NULL, updated_at = {now} WHERE id = $1 AND lease_token = $2 AND status = 'processing'"
    );
    sql::write(db, &text, [claim.id.into(), claim.token.into()]).await.map(Fenced::from_rows)
}

/// The attempt failed: back in the queue after a wait, or given up when it was the last.
pub(super) async fn fail_attempt(
    db: &Db,
    claim: &Claim,
    reason: &str,
    given_up: Option<GivenUp>,
) -> ApiResult<Fenced> {
    if claim.attempts >= claim.max_attempts {
        return give_up(db, claim, reason, "", given_up).await;
    }
    let now = sql::now(db.pool());
    let text = format!(
        "UPDATE jobs SET status = 'queued', run_at = {now} + $3, last_error = $4, lease_token = NULL, \
         locked_until = NULL, updated_at = {now} WHERE id = $1 AND lease_token = $2 AND status = 'processing'"
    );
    let wait = sql::micros(retry_wait(claim.attempts));
    let values = [claim.id.into(), claim.token.into(), wait.into(), cut(reason).into()];
    Ok(sql::write(db, &text, values).await.map(Fenced::from_rows)?)
}

/// What is kept of an error's text.
fn cut(reason: &str) -> String {
    reason.chars().filter(|character| *character != '\0').take(ERROR_LENGTH).collect()
}

/// Fails a job for good, together with what follows from that. `also` is a further condition on its row.
pub(super) async fn give_up(
    db: &Db,
    claim: &Claim,
    reason: &str,
    also: &str,
    given_up: Option<GivenUp>,
) -> ApiResult<Fenced> {
    let now = sql::now(db.pool());
    let text = format!(
        "UPDATE jobs SET status = 'failed', last_error = $3, lease_token = NULL, locked_until = NULL, \
         updated_at = {now} WHERE id = $1 AND lease_token = $2 AND status = 'processing'{also}"
    );
    db::in_time(SystemScope::in_transaction(db, async |system| {
        let values = [claim.id.into(), claim.token.into(), cut(reason).into()];
        let fenced = sql::execute(&system.db(), &text, values).await.map(Fenced::from_rows)?;
        if let (Fenced::Held, Some(given_up)) = (fenced, given_up) {
            given_up(system, claim.args.clone()).await?;
        }
        Ok(fenced)
    }))
    .await
}

/// Settles jobs whose holder went silent: back in the queue, or given up when that was the last attempt.
/// Served by `ix_jobs_held (locked_until) WHERE status = 'processing'`.
pub(super) async fn settle_expired(db: &Db, handlers: &Handlers) -> Result<(), DbErr> {
    let (now, skip) = (sql::now(db.pool()), sql::skip_locked(db.pool()));
    let silent = format!("status = 'processing' AND locked_until < {now}");
    let found = format!(
        "SELECT id, lease_token, name, args, attempts, max_attempts FROM jobs WHERE {silent} \
         ORDER BY locked_until LIMIT $1"
    );
    // Looked at without a write, so that an idle queue writes nothing.
    let found = sql::rows(db.pool(), &found, [EXPIRED_BATCH.into()]).await?;
    if found.is_empty() {
        return Ok(());
    }
    let text = format!(
        "UPDATE jobs SET status = 'queued', last_error = '{LEASE_RAN_OUT}', lease_token = NULL, \
         locked_until = NULL, updated_at = {now} WHERE id IN (SELECT id FROM jobs WHERE {silent} \
         AND attempts < max_attempts ORDER BY locked_until LIMIT $1 {skip})"
    );
    sql::write(db, &text, [EXPIRED_BATCH.into()]).await?;
    let still_silent = format!(" AND locked_until < {now}");
    for row in &found {
        let claim = Claim::of(row, row.try_get("", "lease_token")?)?;
        if claim.attempts < claim.max_attempts {
            continue;
        }
        let given_up = handlers.find_given_up(&claim.name);
        // One that cannot be given up now must not hold up the others.
        if let Err(error) = give_up(db, &claim, LEASE_RAN_OUT, &still_silent, given_up).await {
            tracing::error!(job = %claim.id, name = claim.name, %error, "job not given up");
        }
    }
    Ok(())
}
