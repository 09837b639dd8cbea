//! Background jobs: our own queue behind Loco's `perform_later`, in the `jobs` table of the application's database.
//!
//! Loco's queues neither retry nor fence, and enqueue outside the caller's transaction. Here a job commits with what
//! caused it ([`enqueue_on`]), is leased by the database's clock, retried with a growing wait, and ended only by the
//! holder of its lease. A job may run more than once (a lease that ran out), so its work is idempotent.
//! Volume work (lanes, inboxes, webhook deliveries) is not done here: it has tables and loops of its own.

mod backoff;
mod handlers;
mod lease;
mod listing;
mod long;
mod provider;
mod retention;
mod run;
mod sql;

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, Value};
use serde_json::Value as Json;
use uuid::Uuid;

pub use backoff::retry_wait;
pub use handlers::GivenUp;
pub use lease::{LEASE, next_sql};
pub use listing::{ListedJob, find, forget, is_final, retry};
pub use long::{ENROLL_IMPORT, READ_TABLE, TurnOver, long_classes, turn_is_over};
pub use provider::DbQueue;
pub use retention::{KEEP_COMPLETED, KEEP_FAILED, purge_jobs};

use crate::clock::new_id;

/// How often a job is tried before it is `failed`, unless it says otherwise.
pub const MAX_ATTEMPTS: i32 = 8;
/// The same for one that goes on where it was: many restarts on the way are no reason to give it up.
pub const RESUMABLE_ATTEMPTS: i32 = 20;

/// Why a job is given up at its first failure: a worker answers this (`loco_rs::Error::wrap`) where no other try can do what
/// this one could not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Hopeless(pub String);

/// A job to be stored. `name` is the worker's class name, `args` what its `perform` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Class name of the worker that performs it.
    pub name: String,
    /// The worker's arguments.
    pub args: Json,
    /// How long it waits before it may run, from the database's now.
    pub delay: Duration,
    /// Higher runs first; 0 is usual.
    pub priority: i32,
    /// Attempts before it is given up.
    pub max_attempts: i32,
    /// At most one stored job has this key, finished ones included until they are purged.
    pub unique_key: Option<String>,
}

impl Job {
    /// A job that may run at once.
    pub fn new(name: impl Into<String>, args: Json) -> Self {
        Self {
            name: name.into(),
            args,
            delay: Duration::ZERO,
            priority: 0,
            max_attempts: MAX_ATTEMPTS,
            unique_key: None,
        }
    }

    /// The same with a key that makes storing it twice store it once.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// The same, not before `delay` has passed.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Stores a job on `conn`, which may be an open transaction: the job then exists if that commits.
/// `None`: a job with this unique key is there already, and nothing was stored.
/// Ring the jobs' doorbell after the commit, if the job should not wait for the next poll.
///
/// # Errors
/// What the database refuses.
pub async fn enqueue_on(conn: &impl ConnectionTrait, job: Job) -> Result<Option<Uuid>, DbErr> {
    let id = new_id();
    let now = sql::now(conn);
    let text = format!(
        "INSERT INTO jobs (id, name, args, status, run_at, attempts, max_attempts, priority, unique_key, \
         created_at, updated_at) \
         VALUES ($1, $2, $3, 'queued', {now} + $4, 0, $5, $6, $7, {now}, {now}) \
         ON CONFLICT (unique_key) DO NOTHING"
    );
    let values: [Value; 7] = [
        id.into(),
        job.name.into(),
        job.args.to_string().into(),
        sql::micros(job.delay).into(),
        job.max_attempts.into(),
        job.priority.into(),
        job.unique_key.into(),
    ];
    let stored = sql::execute(conn, &text, values).await?;
    Ok((stored > 0).then_some(id))
}
