//! Billing periods: what an account has sent in the current one, and how much its plan allows.
//!
//! A period is a row, made when the first send is reserved in it; the periods of an account never overlap. A send is
//! counted in the period that it was reserved in, whatever became of that period since (ADR 13).

pub mod told;
mod turn;

use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

pub use turn::{Span, Turn};

use super::sql::{holes, uuids};
use crate::{
    clock::Timestamp,
    db::{RowLock, key_lock_sql, lock_sql},
    errors::{ApiError, ApiResult, Code},
    tenancy::{Scope, SystemScope},
};

/// How many ended periods are shown.
const HISTORY: i64 = 12;
/// How often a period is looked for that changes while it is waited for.
const TRIES: usize = 5;

/// The period that holds a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment that counts in it: its key.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
    /// Where it is said to begin: where the subscription's period does, even if that was heard of later.
    pub since: Timestamp,
    /// Accepted messages.
    pub sends: i64,
    /// Messages on their way, and those of which nobody knows what became of them.
    pub reserved: i64,
    /// The most sends that the plan allows.
    pub limit: i64,
    /// The plan.
    pub plan_slug: String,
}

impl Period {
    /// Whether the plan allows no further message now.
    pub const fn is_used_up(&self) -> bool {
        self.sends + self.reserved >= self.limit
    }

    /// The refusal of what would need another send.
    pub fn limit_reached(&self) -> ApiError {
        ApiError::new(Code::PlanLimitReached).details(serde_json::json!({
            "current_period_sends": self.sends,
            "monthly_limit": self.limit,
            "plan_slug": self.plan_slug,
        }))
    }
}

/// A period that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// From when until when.
    pub span: Span,
    /// Accepted messages.
    pub sends: i64,
}

/// The account's period at `now`: the stored one, else the one that the next send would make.
///
/// # Errors
/// What the database refuses.
pub async fn current(scope: &Scope, now: Timestamp) -> ApiResult<Period> {
    let (plan_slug, limit, subscription) = plan(scope).await?;
    let row = stored(scope, now, "").await?;
    let (span, sends, reserved) = match row {
        Some(row) => row,
        None => (unstored(scope, subscription, now).await?, 0, 0),
    };
    let since = subscription.filter(|paid| paid.holds(now) && paid.end == span.end);
    let since = since.map_or(span.start, |paid| paid.start);
    Ok(Period { start: span.start, end: span.end, since, sends, reserved, limit, plan_slug })
}

/// The same, its row made where it is missing and locked: the first lock of a transaction that changes it.
///
/// # Errors
/// What the database refuses.
pub async fn lock(scope: &Scope, now: Timestamp) -> ApiResult<Period> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    for _ in 0..TRIES {
        open(scope, now).await?;
        // Not there: it was ended by what this waited for, and another one holds this moment.
        if stored(scope, now, lock).await?.is_some() {
            return current(scope, now).await;
        }
    }
    Err(ApiError::unavailable("the account's period changed again and again"))
}

/// The last periods that have ended, the last one first. The primary key of `account_periods`, backwards.
///
/// # Errors
/// What the database refuses.
pub async fn ended(scope: &Scope, now: Timestamp) -> ApiResult<Vec<Ended>> {
    let sql = "SELECT period_start, period_end, sends FROM account_periods \
               WHERE account_id = $1 AND period_end <= $2 ORDER BY period_start DESC LIMIT $3";
    let rows = scope.query(sql, [now.micros().into(), HISTORY.into()]).await?;
    rows.iter().map(|row| Ok(Ended { span: span_of(row)?, sends: row.try_get("", "sends")? })).collect()
}

/// Locks the account's periods: after its row, before its campaigns. All of them, because a delivery may have been
/// uncertain for long.
///
/// # Errors
/// What the database refuses.
pub async fn hold_all(scope: &Scope) -> ApiResult<()> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql =
        format!("SELECT period_start FROM account_periods WHERE account_id = $1 ORDER BY period_start{lock}");
    scope.query(&sql, []).await?;
    Ok(())
}

/// Lets the open period give way when the subscription's own was `before` and is `after`. The account and its periods
/// are locked.
///
/// # Errors
/// What the database refuses.
pub async fn turn_over(
    scope: &Scope,
    before: Option<Span>,
    after: Option<Span>,
    now: Timestamp,
) -> ApiResult<Turn> {
    let open = stored(scope, now, "").await?.map(|(span, ..)| span);
    // A process whose clock is ahead may have begun the next one.
    let next = beside(scope, now).await?.1;
    let turned = turn::turn(open, before, after, now).before(next);
    if let (Some(open), Turn::End(end) | Turn::Split { at: end, .. }) = (open, turned) {
        let sql = "UPDATE account_periods SET period_end = $3 WHERE account_id = $1 AND period_start = $2";
        scope.execute(sql, [open.start.micros().into(), end.micros().into()]).await?;
    }
    if let Turn::Split { at, end } = turned {
        let sql = "INSERT INTO account_periods (account_id, period_start, period_end) VALUES ($1, $2, $3)";
        scope.execute(sql, [at.micros().into(), end.micros().into()]).await?;
    }
    Ok(turned)
}

/// Makes the periods that hold `now` where there is none: before any other lock but those of accounts, by account.
///
/// # Errors
/// What the database refuses.
pub async fn open_all(system: &SystemScope, accounts: &[Uuid], now: Timestamp) -> Result<(), DbErr> {
    if accounts.is_empty() {
        return Ok(());
    }
    let lacking = format!(
        "SELECT a.id FROM accounts a WHERE a.id IN ({}) AND NOT EXISTS (SELECT 1 FROM account_periods p \
         WHERE p.account_id = a.id AND p.period_start <= $1 AND p.period_end > $1) ORDER BY a.id",
        holes(2, accounts.len())
    );
    let values = || std::iter::once(now.micros().into()).chain(uuids(accounts));
    for row in system.query(&lacking, values()).await? {
        open(&system.account(row.try_get("", "id")?), now).await?;
    }
    Ok(())
}

/// Makes the account's period that holds `now`, if there is none. Who makes one has the account locked, so that no two
/// overlap.
async fn open(scope: &Scope, now: Timestamp) -> Result<(), DbErr> {
    if stored(scope, now, "").await?.is_some() {
        return Ok(());
    }
    let sql = format!("SELECT id FROM accounts WHERE id = $1{}", key_lock_sql(scope.backend()));
    scope.query(&sql, []).await?;
    if stored(scope, now, "").await?.is_some() {
        return Ok(());
    }
    let sql = "SELECT subscription_start, subscription_end FROM accounts WHERE id = $1";
    let Some(row) = scope.query_one(sql, []).await? else { return Ok(()) };
    let span = unstored(scope, subscription_of(&row)?, now).await?;
    let sql = "INSERT INTO account_periods (account_id, period_start, period_end) VALUES ($1, $2, $3)";
    scope.execute(sql, [span.start.micros().into(), span.end.micros().into()]).await.map(drop)
}

/// The plan's slug and limit, and the period of the subscription. The primary keys of accounts and plans.
async fn plan(scope: &Scope) -> ApiResult<(String, i64, Option<Span>)> {
    let sql = "SELECT l.slug, l.monthly_limit, a.subscription_start, a.subscription_end \
               FROM accounts a JOIN plans l ON l.id = a.plan_id WHERE a.id = $1";
    let row = scope.query_one(sql, []).await?.ok_or_else(|| ApiError::internal("the account has no plan"))?;
    Ok((row.try_get("", "slug")?, row.try_get("", "monthly_limit")?, subscription_of(&row)?))
}

/// The period of a subscription in the columns of an account.
pub(super) fn subscription_of(row: &QueryResult) -> Result<Option<Span>, DbErr> {
    let start = row.try_get::<Option<Timestamp>>("", "subscription_start")?;
    let end = row.try_get::<Option<Timestamp>>("", "subscription_end")?;
    Ok(start.zip(end).map(|(start, end)| Span { start, end }))
}

fn span_of(row: &QueryResult) -> Result<Span, DbErr> {
    Ok(Span { start: row.try_get("", "period_start")?, end: row.try_get("", "period_end")? })
}

/// The stored period that holds `now`, its sends and reservations. The primary key of `account_periods`.
async fn stored(scope: &Scope, now: Timestamp, lock: &str) -> Result<Option<(Span, i64, i64)>, DbErr> {
    let sql = format!(
        "SELECT period_start, period_end, sends, reserved FROM account_periods \
         WHERE account_id = $1 AND period_start <= $2 AND period_end > $2 \
         ORDER BY period_start DESC LIMIT 1{lock}"
    );
    let row = scope.query_one(&sql, [now.micros().into()]).await?;
    row.map(|row| Ok((span_of(&row)?, row.try_get("", "sends")?, row.try_get("", "reserved")?))).transpose()
}

/// The period that holds `now` where none is stored.
async fn unstored(scope: &Scope, subscription: Option<Span>, now: Timestamp) -> Result<Span, DbErr> {
    let (earlier, next) = beside(scope, now).await?;
    Ok(turn::natural(subscription, earlier, next, now))
}

/// When the last period before `now` ended, and when the first after it begins.
async fn beside(scope: &Scope, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), DbErr> {
    let sql = "SELECT (SELECT max(period_end) FROM account_periods WHERE account_id = $1 AND period_end <= $2) \
               AS earlier, (SELECT min(period_start) FROM account_periods \
               WHERE account_id = $1 AND period_start > $2) AS next";
    let row = scope.query_one(sql, [now.micros().into()]).await?;
    let moment = |column| row.as_ref().map_or(Ok(None), |row: &QueryResult| row.try_get("", column));
    Ok((moment("earlier")?, moment("next")?))
}
