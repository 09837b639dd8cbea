//! What accounts ask for, as hourly sums: stored in batches, shown, and forgotten after [`KEEP`].

use std::{collections::BTreeMap, time::Duration};

use sea_orm::Value;
use uuid::Uuid;

use super::states::ClientKind;
use crate::{
    clock::Timestamp,
    db::{self, Db},
    errors::{ApiError, ApiResult},
    tenancy::{Scope, SystemScope},
};

/// How long sums are kept: a year, and as much as somebody may be late to compare it with the last.
pub const KEEP: Duration = Duration::from_secs(400 * 86_400);
/// Rows of one transaction.
pub const CHUNK: usize = 500;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// What is summed up together. Its order is that in which rows are changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// Who asked.
    pub account_id: Uuid,
    /// The first moment of the hour.
    pub hour: Timestamp,
    /// With what kind of key.
    pub client_kind: ClientKind,
    /// How.
    pub method: String,
    /// For what: a route's template.
    pub path: String,
}

/// The first moment of the hour of `moment`.
pub const fn hour(moment: Timestamp) -> Timestamp {
    let micros = moment.micros();
    Timestamp::from_micros(micros - micros.rem_euclid(HOUR))
}

/// Adds to the sums, in one transaction.
///
/// # Errors
/// What the database refuses.
pub async fn store(db: &Db, sums: &[(Counted, i64)]) -> ApiResult<()> {
    // In here: whoever waits for it keeps what was not stored.
    db::in_time(SystemScope::in_transaction(db, async |system| {
        for (it, requests) in sums {
            let values: [Value; 6] = [
                it.account_id.into(),
                it.hour.into(),
                it.client_kind.into(),
                it.method.as_str().into(),
                it.path.as_str().into(),
                (*requests).into(),
            ];
            system
                .execute(
                    "INSERT INTO usage_hours (account_id, hour, client_kind, method, path, requests) \
                     VALUES ($1, $2, $3, $4, $5, $6) \
                     ON CONFLICT (account_id, hour, client_kind, method, path) \
                     DO UPDATE SET requests = usage_hours.requests + excluded.requests",
                    values,
                )
                .await?;
        }
        Ok::<(), ApiError>(())
    }))
    .await
}

/// The sums of an account since a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests of each kind on each day (as [`Timestamp::day`] counts them).
    pub days: BTreeMap<(ClientKind, i64), i64>,
    /// The operations that were asked for most.
    pub top: Vec<Top>,
}

/// An operation and how often it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// With what kind of key.
    pub client_kind: ClientKind,
    /// How.
    pub method: String,
    /// The route's template.
    pub path: String,
    /// How often.
    pub count: i64,
}

/// Sums up from the hour that `since` is in.
///
/// # Errors
/// What the database refuses.
pub async fn summary(scope: &Scope, since: Timestamp) -> ApiResult<Summary> {
    let from = hour(since);
    // Both: the primary key's range of this account.
    let per_day = "SELECT client_kind, hour / $3 AS day, CAST(sum(requests) AS bigint) AS requests \
                   FROM usage_hours WHERE account_id = $1 AND hour >= $2 GROUP BY 1, 2";
    let top = "SELECT client_kind, method, path, CAST(sum(requests) AS bigint) AS requests \
               FROM usage_hours WHERE account_id = $1 AND hour >= $2 GROUP BY 1, 2, 3 \
               ORDER BY 4 DESC, 2, 3, 1 LIMIT 50";
    let mut summary = Summary::default();
    for row in scope.query(per_day, [from.into(), DAY.into()]).await? {
        let day = (row.try_get("", "client_kind")?, row.try_get("", "day")?);
        summary.days.insert(day, row.try_get("", "requests")?);
    }
    for row in scope.query(top, [from.into()]).await? {
        summary.top.push(Top {
            client_kind: row.try_get("", "client_kind")?,
            method: row.try_get("", "method")?,
            path: row.try_get("", "path")?,
            count: row.try_get("", "requests")?,
        });
    }
    Ok(summary)
}

/// Forgets at most `batch` sums that were kept for long enough, and says how many.
///
/// # Errors
/// What the database refuses.
pub async fn purge(system: &SystemScope, now: Timestamp, batch: u32) -> ApiResult<u64> {
    let row = "account_id, hour, client_kind, method, path";
    // ix_usage_hours_hour
    let text = format!(
        "DELETE FROM usage_hours WHERE ({row}) IN \
         (SELECT {row} FROM usage_hours WHERE hour < $1 ORDER BY hour LIMIT $2)"
    );
    Ok(system.execute(&text, [now.minus(KEEP).into(), i64::from(batch).into()]).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_begins_where_the_clock_says() {
        for (moment, begin) in [(0, 0), (HOUR - 1, 0), (HOUR, HOUR), (-1, -HOUR)] {
            assert_eq!(hour(Timestamp::from_micros(moment)), Timestamp::from_micros(begin));
        }
    }
}
