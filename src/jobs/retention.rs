//! How long ended jobs are kept.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::sql;
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// How long a completed job is kept; its unique key is taken until then.
pub const KEEP_COMPLETED: Duration = DAY.saturating_mul(7);
/// How long a failed or cancelled job is kept, for people to look at.
pub const KEEP_FAILED: Duration = DAY.saturating_mul(30);

/// Deletes at most `batch` jobs whose time is over at `now`, and says how many: call again while it is `batch`.
/// Served by `ix_jobs_ended (updated_at) WHERE status IN ('completed', 'failed', 'cancelled')`.
///
/// # Errors
/// What the database refuses.
pub async fn purge_jobs(conn: &impl ConnectionTrait, now: Timestamp, batch: u32) -> Result<u64, DbErr> {
    let skip = sql::skip_locked(conn);
    // The IN list repeats the index's own condition word for word: SQLite uses a partial index only then.
    let text = format!(
        "WITH over AS MATERIALIZED (SELECT id FROM jobs \
         WHERE status IN ('completed', 'failed', 'cancelled') AND updated_at < $1 \
         AND (status = 'completed' OR updated_at < $2) ORDER BY updated_at LIMIT $3 {skip}) \
         DELETE FROM jobs WHERE id IN (SELECT id FROM over)"
    );
    let completed = now.minus(KEEP_COMPLETED).micros();
    let failed = now.minus(KEEP_FAILED).micros();
    sql::execute(conn, &text, [completed.into(), failed.into(), i64::from(batch).into()]).await
}
