//! What is read from the database for a scrape: a few counts, each served by a partial index of what is under way, and
//! none counted further than [`MOST`].

use std::time::Duration;

use crate::{
    clock::Timestamp,
    db::{Db, clock_sql},
    errors::{ApiError, ApiResult},
    jobs::long_classes,
    tenancy::{Conn, SystemScope},
};

/// Nothing is counted past this: a scrape costs the same on the worst day.
const MOST: u32 = 10_000;
/// How long the database may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The states of deliveries that somebody waits for; all others only grow.
const STATES: [&str; 5] = ["queued", "claimed", "sending", "deferred", "uncertain"];

/// The gauges of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Credentials that have something to send now, or are sending.
    pub lanes_awake: i64,
    /// Deliveries in states that somebody waits for.
    pub deliveries: Vec<(&'static str, i64)>,
    /// Jobs that wait.
    pub jobs_queued: i64,
    /// How long the oldest of those that always find a slot is overdue, in seconds: the others wait for a place, however well
    /// the engine is.
    pub oldest_job_seconds: i64,
}

/// Reads the gauges.
///
/// # Errors
/// `service_unavailable` when the database does not answer, or not in time.
pub async fn sample(db: &Db, now: Timestamp) -> ApiResult<Sample> {
    let system = SystemScope::new(Conn::Pool(db.pool().clone()));
    let read = tokio::time::timeout(WITHIN, read(&system, now));
    read.await.map_err(ApiError::unavailable)?.map_err(ApiError::unavailable)
}

async fn read(system: &SystemScope, now: Timestamp) -> Result<Sample, sea_orm::DbErr> {
    let clock = clock_sql(system.backend());
    // ix_smtp_credentials_wake
    let free = bounded(&format!(
        "SELECT 1 AS one FROM smtp_credentials WHERE wake_at <= (SELECT {clock}) AND holder IS NULL \
         AND next_send_at <= (SELECT {clock}) AND disabled_at IS NULL AND deleted_at IS NULL"
    ));
    // ix_smtp_credentials_holder
    let held = bounded("SELECT 1 AS one FROM smtp_credentials WHERE holder IS NOT NULL");
    let mut deliveries = Vec::with_capacity(STATES.len());
    for state in STATES {
        deliveries.push((state, number(system, &bounded(&in_state(state))).await?));
    }
    // ix_jobs_due, both times
    let queued = bounded("SELECT 1 AS one FROM jobs WHERE status = 'queued'");
    let short = format!(
        "SELECT min(run_at) AS oldest FROM (SELECT run_at FROM jobs WHERE status = 'queued' AND name NOT IN {} \
         ORDER BY priority DESC, run_at, id LIMIT {MOST}) AS queued",
        long_classes()
    );
    let oldest = system.query_one(&short, []).await?;
    let oldest = oldest.map(|row| row.try_get::<Option<i64>>("", "oldest")).transpose()?.flatten();
    let overdue = oldest.map_or(Duration::ZERO, |oldest| now.since(Timestamp::from_micros(oldest)));
    Ok(Sample {
        lanes_awake: number(system, &free).await? + number(system, &held).await?,
        deliveries,
        jobs_queued: number(system, &queued).await?,
        oldest_job_seconds: i64::try_from(overdue.as_secs()).unwrap_or(i64::MAX),
    })
}

/// Deliveries in it, each by the index that has it. `ix_enrollments_held`, then `uq_deliveries_step`; `ix_deliveries_queued`,
/// `ix_deliveries_deferred`, `ix_deliveries_uncertain`. SQLite keeps the order of a `CROSS JOIN`.
fn in_state(state: &str) -> String {
    match state {
        "claimed" | "sending" => format!(
            "SELECT 1 AS one FROM enrollments e CROSS JOIN deliveries d WHERE e.progress = 'claimed' \
             AND d.account_id = e.account_id AND d.enrollment_id = e.id AND d.state = '{state}'"
        ),
        _ => format!("SELECT 1 AS one FROM deliveries WHERE stage = '{state}'"),
    }
}

fn bounded(rows: &str) -> String {
    format!("SELECT count(*) AS number FROM ({rows} LIMIT {MOST}) AS counted")
}

async fn number(system: &SystemScope, text: &str) -> Result<i64, sea_orm::DbErr> {
    let row = system.query_one(text, []).await?;
    Ok(row.map(|row| row.try_get("", "number")).transpose()?.unwrap_or_default())
}
