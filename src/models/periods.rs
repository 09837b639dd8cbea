//! Billing periods: what an account has sent in the current one, and how much its plan allows.

use sea_orm::QueryResult;

use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    errors::{ApiError, ApiResult, Code},
    tenancy::Scope,
};

/// The period that holds a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
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

/// The account's period at `now`: the stored one, else the calendar month (UTC) with nothing sent yet.
///
/// # Errors
/// What the database refuses.
pub async fn current(scope: &Scope, now: Timestamp) -> ApiResult<Period> {
    read(scope, now, "").await
}

/// The same, its row made where it is missing and locked: the first lock of a transaction that changes it.
///
/// # Errors
/// What the database refuses.
pub async fn lock(scope: &Scope, now: Timestamp) -> ApiResult<Period> {
    let known = read(scope, now, "").await?;
    let sql = "INSERT INTO account_periods (account_id, period_start, period_end) VALUES ($1, $2, $3) \
               ON CONFLICT (account_id, period_start) DO NOTHING";
    scope.execute(sql, [known.start.micros().into(), known.end.micros().into()]).await?;
    let lock = match lock_sql(scope.backend(), RowLock::Update) {
        "" => String::new(),
        lock => format!("{lock} OF p"),
    };
    read(scope, now, &lock).await
}

async fn read(scope: &Scope, now: Timestamp, lock: &str) -> ApiResult<Period> {
    // The primary keys of accounts, plans and account_periods.
    let plan =
        "SELECT l.slug, l.monthly_limit FROM accounts a JOIN plans l ON l.id = a.plan_id WHERE a.id = $1";
    let plan =
        scope.query_one(plan, []).await?.ok_or_else(|| ApiError::internal("the account has no plan"))?;
    let sql = format!(
        "SELECT p.period_start, p.period_end, p.sends, p.reserved FROM account_periods p \
         WHERE p.account_id = $1 AND p.period_start <= $2 AND p.period_end > $2 \
         ORDER BY p.period_start DESC LIMIT 1{lock}"
    );
    let stored = scope.query_one(&sql, [now.micros().into()]).await?;
    let number = |column: &str| -> Result<Option<i64>, sea_orm::DbErr> {
        stored.as_ref().map(|row: &QueryResult| row.try_get("", column)).transpose()
    };
    Ok(Period {
        start: number("period_start")?.map_or_else(|| now.month_start(), Timestamp::from_micros),
        end: number("period_end")?.map_or_else(|| now.next_month_start(), Timestamp::from_micros),
        sends: number("sends")?.unwrap_or_default(),
        reserved: number("reserved")?.unwrap_or_default(),
        limit: plan.try_get("", "monthly_limit")?,
        plan_slug: plan.try_get("", "slug")?,
    })
}
