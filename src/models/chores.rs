//! What one process does for all, once a night: a lease by the database's clock says who, and since when it is done.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    db::clock_sql,
    errors::ApiResult,
    tenancy::SystemScope,
};

/// How long a chore is held without news of its holder.
const LEASE: i64 = 10 * 60 * 1_000_000;
/// When the night's work begins, after midnight (UTC).
const BEGINS: Duration = Duration::from_secs(3 * 3600);

/// A chore that this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    name: &'static str,
    token: Uuid,
}

/// Takes a chore that was not done since the last night began; `None` when it was, or somebody is at it.
///
/// # Errors
/// What the database refuses.
pub async fn claim(system: &SystemScope, name: &'static str, now: Timestamp) -> ApiResult<Option<Held>> {
    let clock = clock_sql(system.backend());
    let night = Timestamp::from_day(now.minus(BEGINS).day()).plus(BEGINS);
    let row = system.query_one("SELECT done_at FROM chores WHERE name = $1", [name.into()]).await?;
    let done = row.map(|row| row.try_get::<Option<Timestamp>>("", "done_at")).transpose()?.flatten();
    if done.is_some_and(|done| done >= night) {
        return Ok(None);
    }
    let token = new_id();
    let sql = format!(
        "INSERT INTO chores (name, lease_token, locked_until) VALUES ($1, $2, {clock} + $3) \
         ON CONFLICT (name) DO UPDATE SET lease_token = excluded.lease_token, locked_until = excluded.locked_until \
         WHERE (chores.locked_until IS NULL OR chores.locked_until < {clock}) \
         AND (chores.done_at IS NULL OR chores.done_at < $4)"
    );
    let values = [name.into(), token.into(), LEASE.into(), night.micros().into()];
    Ok((system.execute(&sql, values).await? > 0).then_some(Held { name, token }))
}

/// Holds it for longer; `false` when somebody else has taken it over.
///
/// # Errors
/// What the database refuses.
pub async fn renew(system: &SystemScope, held: Held) -> ApiResult<bool> {
    let clock = clock_sql(system.backend());
    let sql = format!("UPDATE chores SET locked_until = {clock} + $3 WHERE name = $1 AND lease_token = $2");
    Ok(system.execute(&sql, [held.name.into(), held.token.into(), LEASE.into()]).await? > 0)
}

/// Gives it up: done at `done`, or to be tried again.
///
/// # Errors
/// What the database refuses.
pub async fn release(system: &SystemScope, held: Held, done: Option<Timestamp>) -> ApiResult<()> {
    let sql = "UPDATE chores SET lease_token = NULL, locked_until = NULL, done_at = coalesce($3, done_at) \
               WHERE name = $1 AND lease_token = $2";
    system.execute(sql, [held.name.into(), held.token.into(), done.map(Timestamp::micros).into()]).await?;
    Ok(())
}
