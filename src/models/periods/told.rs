//! Which marks of a period its owner was told of.

use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    tenancy::{Scope, SystemScope},
};

/// A period whose sends passed a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whose.
    pub account_id: Uuid,
    /// Its key.
    pub period_start: Timestamp,
    /// The first moment after it.
    pub period_end: Timestamp,
    /// The highest mark that was passed, in percent of the limit.
    pub percent: i32,
    /// Accepted messages.
    pub sends: i64,
    /// The most that the plan allows.
    pub limit: i64,
    /// The plan's name.
    pub plan: String,
}

/// Open periods that passed 80 or 100 percent of their limit without their owner being told. `ix_account_periods_untold`
///
/// # Errors
/// What the database refuses.
pub async fn passed(system: &SystemScope, now: Timestamp, most: u32) -> ApiResult<Vec<Passed>> {
    let sql = "SELECT p.account_id, p.period_start, p.period_end, p.sends, l.monthly_limit, l.name, \
               CASE WHEN p.sends >= l.monthly_limit THEN 100 ELSE 80 END AS percent \
               FROM account_periods p JOIN accounts a ON a.id = p.account_id JOIN plans l ON l.id = a.plan_id \
               WHERE p.told_percent < 100 AND p.period_end > $1 AND p.period_start <= $1 \
               AND a.deleted_at IS NULL AND l.monthly_limit > 0 AND p.sends * 100 >= l.monthly_limit * \
               CASE WHEN p.told_percent < 80 THEN 80 ELSE 100 END LIMIT $2";
    let rows = system.query(sql, [now.micros().into(), i64::from(most).into()]).await?;
    Ok(rows.iter().map(Passed::of).collect::<Result<_, _>>()?)
}

impl Passed {
    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            account_id: row.try_get("", "account_id")?,
            period_start: row.try_get("", "period_start")?,
            period_end: row.try_get("", "period_end")?,
            percent: row.try_get("", "percent")?,
            sends: row.try_get("", "sends")?,
            limit: row.try_get("", "monthly_limit")?,
            plan: row.try_get("", "name")?,
        })
    }
}

/// Notes that the owner is told of a mark; `false` when that was done before.
///
/// # Errors
/// What the database refuses.
pub async fn note(scope: &Scope, period_start: Timestamp, percent: i32) -> ApiResult<bool> {
    let sql = "UPDATE account_periods SET told_percent = $3 \
               WHERE account_id = $1 AND period_start = $2 AND told_percent < $3";
    Ok(scope.execute(sql, [period_start.micros().into(), percent.into()]).await? > 0)
}
