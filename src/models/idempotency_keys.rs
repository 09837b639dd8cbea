//! Answers of requests that carried an `Idempotency-Key`: found by account and key, stored once, sealed, kept for a day.
//!
//! A row without a status is a request that is talking to the outside; its holder renews the lease by the database's
//! clock, and whoever finds it run out takes it over. What is stored is decided in `http::idempotency`, not here.

use std::time::Duration;

use sea_orm::{DbBackend, QueryResult};
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    crypto::{Place, Sealer},
    db::clock_sql,
    errors::{ApiError, ApiResult},
    tenancy::{Scope, SystemScope},
};

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(86_400);
/// How long a running request is held without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its code, where it is a refusal.
    pub code: Option<String>,
    /// The headers that belong to its content, a line each.
    pub headers: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// Which request a key was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Made from account and key.
    pub id: Uuid,
    /// SHA-256 over method, path, query and body.
    pub fingerprint: [u8; 32],
}

/// What a look finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a run that nobody holds any more.
    Free,
    /// Another request used the key.
    Other,
    /// It is running elsewhere.
    Running,
    /// It was answered.
    Answered(Answer),
}

/// The hold on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Stays the same when the run is taken over.
    pub run_id: Uuid,
    token: Uuid,
}

const fn place(account: Uuid, row: Uuid) -> Place {
    Place { account, table: "idempotency_keys", row, column: "body" }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}

/// What is known of the key.
///
/// # Errors
/// What the database refuses; `internal_error` when a stored answer does not open.
pub async fn find(scope: &Scope, sealer: &Sealer, used: &Use, now: Timestamp) -> ApiResult<Found> {
    let sql = format!(
        "SELECT {} FROM idempotency_keys k WHERE k.account_id = $1 AND k.id = $2 AND k.expires_at > $3",
        columns(scope.backend())
    );
    match scope.query_one(&sql, [used.id.into(), now.micros().into()]).await? {
        Some(row) => found(scope, sealer, used, &row),
        None => Ok(Found::Free),
    }
}

/// The same in a transaction of PostgreSQL that has just begun, and whether no other has the key in hand: until this one
/// ends, none takes it.
///
/// # Errors
/// As [`find`].
pub async fn find_alone(
    scope: &Scope,
    sealer: &Sealer,
    used: &Use,
    now: Timestamp,
) -> ApiResult<(bool, Found)> {
    let sql = format!(
        "SELECT pg_try_advisory_xact_lock($4) AS alone, {} FROM (VALUES (1)) AS one LEFT JOIN idempotency_keys k \
         ON k.account_id = $1 AND k.id = $2 AND k.expires_at > $3",
        columns(scope.backend())
    );
    let (lock, _) = used.id.as_u64_pair();
    let values = [used.id.into(), now.micros().into(), lock.cast_signed().into()];
    let row = scope.query_one(&sql, values).await?;
    let row = row.ok_or_else(|| ApiError::internal("a look without an answer"))?;
    Ok((row.try_get("", "alone")?, found(scope, sealer, used, &row)?))
}

/// Of `idempotency_keys k`, which its primary key finds.
fn columns(backend: DbBackend) -> String {
    let clock = clock_sql(backend);
    format!(
        "k.fingerprint, k.status, k.code, k.headers, k.body, \
         CASE WHEN k.locked_until >= {clock} THEN 1 ELSE 0 END AS held"
    )
}

fn found(scope: &Scope, sealer: &Sealer, used: &Use, row: &QueryResult) -> ApiResult<Found> {
    let Some(fingerprint) = row.try_get::<Option<Vec<u8>>>("", "fingerprint")? else {
        return Ok(Found::Free);
    };
    if fingerprint != used.fingerprint {
        return Ok(Found::Other);
    }
    let Some(status) = row.try_get::<Option<i32>>("", "status")? else {
        let held = row.try_get::<i32>("", "held")? == 1;
        return Ok(if held { Found::Running } else { Found::Free });
    };
    let sealed: Vec<u8> = row.try_get("", "body")?;
    let body = sealer.open(&place(scope.account_id(), used.id), &sealed).map_err(ApiError::internal)?;
    Ok(Found::Answered(Answer {
        status: u16::try_from(status).map_err(ApiError::internal)?,
        code: row.try_get("", "code")?,
        headers: row.try_get("", "headers")?,
        body: body.to_vec(),
    }))
}

/// Stores an answer in the scope's transaction. `false`: another request's answer is there already.
///
/// # Errors
/// What the database refuses.
pub async fn store(
    scope: &Scope,
    sealer: &Sealer,
    used: &Use,
    answer: &Answer,
    now: Timestamp,
) -> ApiResult<bool> {
    let clock = clock_sql(scope.backend());
    let sql = format!(
        "INSERT INTO idempotency_keys (account_id, id, fingerprint, status, code, headers, body, run_id, \
         created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (account_id, id) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, \
         code = excluded.code, headers = excluded.headers, body = excluded.body, run_id = excluded.run_id, \
         lease_token = NULL, locked_until = NULL, created_at = excluded.created_at, \
         expires_at = excluded.expires_at WHERE idempotency_keys.expires_at <= excluded.created_at \
         OR (idempotency_keys.status IS NULL AND idempotency_keys.locked_until < {clock})"
    );
    let body = sealer.seal(&place(scope.account_id(), used.id), &answer.body);
    let values = [
        used.id.into(),
        used.fingerprint.to_vec().into(),
        i32::from(answer.status).into(),
        answer.code.clone().into(),
        answer.headers.clone().into(),
        body.into(),
        new_id().into(),
        now.micros().into(),
        now.plus(KEPT).micros().into(),
    ];
    Ok(scope.execute(&sql, values).await? == 1)
}

/// Takes a run, or one that nobody holds any more. `None`: somebody else has it, or it was answered.
///
/// # Errors
/// What the database refuses.
pub async fn lease(scope: &Scope, used: &Use, now: Timestamp) -> ApiResult<Option<Lease>> {
    let (clock, token) = (clock_sql(scope.backend()), new_id());
    let sql = format!(
        "INSERT INTO idempotency_keys (account_id, id, fingerprint, headers, run_id, lease_token, locked_until, \
         created_at, expires_at) VALUES ($1, $2, $3, '', $4, $4, {clock} + $5, $6, $7) \
         ON CONFLICT (account_id, id) DO UPDATE SET fingerprint = excluded.fingerprint, status = NULL, \
         code = NULL, headers = '', body = NULL, lease_token = excluded.lease_token, \
         locked_until = excluded.locked_until, created_at = excluded.created_at, expires_at = excluded.expires_at, \
         run_id = CASE WHEN idempotency_keys.expires_at <= excluded.created_at THEN excluded.run_id \
         ELSE idempotency_keys.run_id END WHERE idempotency_keys.expires_at <= excluded.created_at \
         OR (idempotency_keys.status IS NULL AND idempotency_keys.locked_until < {clock} \
         AND idempotency_keys.fingerprint = excluded.fingerprint) RETURNING run_id"
    );
    let values = [
        used.id.into(),
        used.fingerprint.to_vec().into(),
        token.into(),
        micros(LEASE).into(),
        now.micros().into(),
        now.plus(KEPT).micros().into(),
    ];
    let row = scope.query_one(&sql, values).await?;
    row.map(|row| Ok(Lease { run_id: row.try_get("", "run_id")?, token })).transpose()
}

/// Holds the run on. `false`: somebody took it over.
///
/// # Errors
/// What the database refuses.
pub async fn renew(scope: &Scope, used: &Use, lease: Lease) -> ApiResult<bool> {
    let clock = clock_sql(scope.backend());
    let sql = format!(
        "UPDATE idempotency_keys SET locked_until = {clock} + $4 \
         WHERE account_id = $1 AND id = $2 AND lease_token = $3 AND status IS NULL"
    );
    Ok(scope.execute(&sql, [used.id.into(), lease.token.into(), micros(LEASE).into()]).await? == 1)
}

/// Ends the run with its answer, or with none: then the request may run again. `false`: somebody took it over.
///
/// # Errors
/// What the database refuses.
pub async fn settle(
    scope: &Scope,
    sealer: &Sealer,
    used: &Use,
    lease: Lease,
    answer: Option<&Answer>,
) -> ApiResult<bool> {
    let (id, token) = (used.id.into(), lease.token.into());
    let Some(answer) = answer else {
        let sql = "UPDATE idempotency_keys SET locked_until = 0, lease_token = NULL \
                   WHERE account_id = $1 AND id = $2 AND lease_token = $3 AND status IS NULL";
        return Ok(scope.execute(sql, [id, token]).await? == 1);
    };
    let sql = "UPDATE idempotency_keys SET status = $4, code = $5, headers = $6, body = $7, lease_token = NULL, \
               locked_until = NULL WHERE account_id = $1 AND id = $2 AND lease_token = $3 AND status IS NULL";
    let body = sealer.seal(&place(scope.account_id(), used.id), &answer.body);
    let values = [
        id,
        token,
        i32::from(answer.status).into(),
        answer.code.clone().into(),
        answer.headers.clone().into(),
        body.into(),
    ];
    Ok(scope.execute(sql, values).await? == 1)
}

/// Deletes at most `batch` answers whose day is over, and says how many.
///
/// # Errors
/// What the database refuses.
pub async fn purge(system: &SystemScope, now: Timestamp, batch: u32) -> ApiResult<u64> {
    // ix_idempotency_keys_expired
    let sql = "DELETE FROM idempotency_keys WHERE (account_id, id) IN \
               (SELECT account_id, id FROM idempotency_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    Ok(system.execute(sql, [now.micros().into(), i64::from(batch).into()]).await?)
}
