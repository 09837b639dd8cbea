//! Messages of `test_send`: reserved, marked and counted like any other, so that no crash sends one twice or loses count.
//!
//! claimed (quota reserved) → sending (marked before its content is handed over) → sent, failed or uncertain.

use sea_orm::{ColumnTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

pub use super::_entities::test_messages::{ActiveModel, Column, Entity, Model};
use super::{periods, states::TestState};
use crate::{
    clock::Timestamp,
    db::clock_sql,
    errors::ApiResult,
    tenancy::{Scope, SystemScope, tenant_entity},
};

tenant_entity!(test_messages, NotFound);

/// How long a message may be held without news before it is given up, in microseconds. Each mark of a request begins it
/// anew for all of its messages; one message takes four minutes at most.
pub const HELD: i64 = 15 * 60 * 1_000_000;

/// Reserves a send of the period for each message and stores them as claimed. The period is the transaction's first lock.
///
/// # Errors
/// `plan_limit_reached` when the period does not hold all of them.
pub async fn claim(scope: &Scope, rows: Vec<Model>, now: Timestamp) -> ApiResult<Vec<Model>> {
    let period = periods::lock(scope, now).await?;
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    if period.sends.saturating_add(period.reserved).saturating_add(count) > period.limit {
        return Err(period.limit_reached());
    }
    move_quota(scope, period.start, count, 0).await?;
    let rows: Vec<Model> =
        rows.into_iter().map(|row| Model { reserved_period: Some(period.start), ..row }).collect();
    scope.insert_all::<Entity>(rows.clone()).await?;
    let ids = rows.iter().map(|row| row.id);
    hold(scope, ids.collect()).await?;
    Ok(rows)
}

/// Marks a message, unless something that was stored since forbids it: the address was suppressed, campaign or
/// credential were deleted, the credential was disabled, or the claim was given up.
///
/// # Errors
/// What the database refuses.
pub async fn mark(scope: &Scope, row: &Model, suppression: &[u8]) -> ApiResult<bool> {
    let lock = crate::db::lock_sql(scope.backend(), crate::db::RowLock::Share);
    let facts = format!(
        "SELECT k.id FROM campaigns k JOIN smtp_credentials s ON s.account_id = $1 AND s.id = $3 \
         WHERE k.account_id = $1 AND k.id = $2 AND k.deleted_at IS NULL AND s.deleted_at IS NULL \
         AND s.disabled_at IS NULL{lock}"
    );
    if scope.query_one(&facts, [row.campaign_id.into(), row.smtp_credential_id.into()]).await?.is_none() {
        return Ok(false);
    }
    let marked = scope
        .execute(
            "UPDATE test_messages SET state = 'sending' WHERE account_id = $1 AND id = $2 AND state = 'claimed' \
             AND NOT EXISTS (SELECT 1 FROM suppressions WHERE account_id = $1 AND email_hash = $3)",
            [row.id.into(), suppression.to_vec().into()],
        )
        .await?;
    Ok(marked == 1)
}

/// Begins the time anew that these messages may be held.
///
/// # Errors
/// What the database refuses.
pub async fn hold(scope: &Scope, ids: Vec<Uuid>) -> ApiResult<()> {
    let clock = clock_sql(scope.backend());
    let holes = super::sql::holes(3, ids.len());
    let sql = format!(
        "UPDATE test_messages SET locked_until = {clock} + $2 \
         WHERE account_id = $1 AND state IN ('claimed', 'sending') AND id IN ({holes})"
    );
    scope.execute(&sql, std::iter::once(HELD.into()).chain(ids.into_iter().map(Into::into))).await?;
    Ok(())
}

/// Stores what became of a message that is still held, and settles its send: counted when it was accepted, given back
/// when it failed, kept when nobody knows. A late record of one that was given up as uncertain settles it.
///
/// # Errors
/// What the database refuses.
pub async fn record(
    scope: &Scope,
    row: &Model,
    marked: bool,
    ended: TestState,
    reply: Option<String>,
) -> ApiResult<()> {
    if let Some(period) = row.reserved_period {
        // The period comes first in the lock order; nothing is changed here where the row was settled meanwhile.
        lock_period(scope, period).await?;
    }
    // Who did not mark it knows nothing of what became of another's mark.
    let from = if marked { "state IN ('sending', 'uncertain')" } else { "state = 'claimed'" };
    let sql = format!(
        "UPDATE test_messages SET state = $3, smtp_reply = $4 \
         WHERE account_id = $1 AND id = $2 AND {from} AND state <> $3"
    );
    let changed = scope.execute(&sql, [row.id.into(), ended.as_str().into(), reply.into()]).await?;
    let Some(period) = row.reserved_period.filter(|_| changed == 1) else { return Ok(()) };
    match ended {
        TestState::Sent => move_quota(scope, period, -1, 1).await,
        TestState::Failed => move_quota(scope, period, -1, 0).await,
        TestState::Uncertain | TestState::Claimed | TestState::Sending => Ok(()),
    }
}

/// What an earlier holder of this run left: its messages in their order. Those that were marked and not recorded are
/// uncertain from here on, those that were not marked are held anew.
///
/// # Errors
/// What the database refuses.
pub async fn take_over(scope: &Scope, run_id: Uuid) -> ApiResult<Vec<Model>> {
    let mine = || scope.find::<Entity>().filter(Column::RunId.eq(run_id)).order_by_asc(Column::Id);
    let found = mine().all(&scope.db()).await?;
    if found.is_empty() {
        return Ok(found);
    }
    let sql = "UPDATE test_messages SET state = 'uncertain' \
               WHERE account_id = $1 AND run_id = $2 AND state = 'sending'";
    scope.execute(sql, [run_id.into()]).await?;
    hold(scope, found.iter().map(|row| row.id).collect()).await?;
    Ok(mine().all(&scope.db()).await?)
}

async fn lock_period(scope: &Scope, start: Timestamp) -> ApiResult<()> {
    let lock = crate::db::lock_sql(scope.backend(), crate::db::RowLock::Update);
    let sql = format!("SELECT sends FROM account_periods WHERE account_id = $1 AND period_start = $2{lock}");
    scope.query_one(&sql, [start.micros().into()]).await?;
    Ok(())
}

async fn move_quota(scope: &Scope, start: Timestamp, reserved: i64, sends: i64) -> ApiResult<()> {
    let sql = "UPDATE account_periods SET reserved = reserved + $3, sends = sends + $4 \
               WHERE account_id = $1 AND period_start = $2";
    scope.execute(sql, [start.micros().into(), reserved.into(), sends.into()]).await?;
    Ok(())
}

/// Gives up what nobody has held for too long: claimed ones failed, marked ones are uncertain and keep their send.
/// At most `most` at a time; answers how many.
///
/// # Errors
/// What the database refuses.
pub async fn give_up_stale(system: &SystemScope, most: u32) -> ApiResult<usize> {
    let clock = clock_sql(system.backend());
    // ix_test_messages_held
    let sql = format!(
        "SELECT id, account_id, state, reserved_period FROM test_messages \
         WHERE state IN ('claimed', 'sending') AND locked_until < {clock} ORDER BY account_id, reserved_period, id LIMIT $1"
    );
    let overdue = system.query(&sql, [i64::from(most).into()]).await?;
    for found in &overdue {
        let (id, period): (Uuid, Option<i64>) =
            (found.try_get("", "id")?, found.try_get("", "reserved_period")?);
        let scope = system.account(found.try_get("", "account_id")?);
        let state: String = found.try_get("", "state")?;
        if let Some(period) = period {
            lock_period(&scope, Timestamp::from_micros(period)).await?;
        }
        let to = if state == TestState::Claimed.as_str() { TestState::Failed } else { TestState::Uncertain };
        let sql = format!(
            "UPDATE test_messages SET state = $3 WHERE account_id = $1 AND id = $2 AND state = $4 \
             AND locked_until < {clock}"
        );
        let changed = scope.execute(&sql, [id.into(), to.as_str().into(), state.into()]).await?;
        if let Some(period) = period.filter(|_| changed == 1 && to == TestState::Failed) {
            move_quota(&scope, Timestamp::from_micros(period), -1, 0).await?;
        }
    }
    Ok(overdue.len())
}
