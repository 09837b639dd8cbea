//! The queue in Loco's slot. [`DbQueue::install`] plugs it in, at boot. Loco's queue names and tags are not used: every process with an engine runs every job.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use loco_rs::{
    Error, Result,
    app::AppContext,
    bgworker::{Job as LocoJob, JobHandler, JobStatus, Queue, QueueProvider},
};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{GivenUp, Job, enqueue_on, handlers::Handlers, listing, long, run::Claimer};
use crate::{
    db::Db,
    engine::{Doorbell, Doorbells},
};

/// Jobs that one process runs at once; half of them may take long.
const SLOTS: usize = 8;

/// Our queue on the `jobs` table.
pub struct DbQueue {
    db: Db,
    handlers: Handlers,
    bell: Doorbell,
    stop: CancellationToken,
    poll: Duration,
    turn: Duration,
}

impl DbQueue {
    /// A queue on `db` that looks for due jobs at every ring of `bell`, and every `poll` without one.
    pub fn new(db: Db, bell: Doorbell, poll: Duration) -> Self {
        let stop = CancellationToken::new();
        Self { db, handlers: Handlers::default(), bell, stop, poll, turn: long::TURN }
    }

    /// The same with other turns of jobs that take long.
    #[must_use]
    pub fn with_turns_of(self, turn: Duration) -> Self {
        Self { turn, ..self }
    }

    /// Makes it the queue of an application, and keeps it where the engine finds it ([`DbQueue::of`]). `db` is what all of
    /// this process write through.
    pub fn install(ctx: AppContext, db: Db, poll: Duration) -> AppContext {
        let queue = Arc::new(Self::new(db, Doorbells::of(&ctx).jobs, poll));
        ctx.shared_store.insert(Arc::clone(&queue));
        ctx.into_builder().queue_provider(Arc::new(Queue::from_provider(queue))).build()
    }

    /// The queue that [`DbQueue::install`] plugged into this application.
    pub fn of(ctx: &AppContext) -> Option<Arc<Self>> {
        ctx.shared_store.get::<Arc<Self>>()
    }

    /// Has `given_up` done with every job of this class that failed for the last time, or that an operator cancels or clears.
    pub fn when_given_up(&self, class: impl Into<String>, given_up: GivenUp) {
        self.handlers.register_given_up(class.into(), given_up);
    }

    /// Runs due jobs until `stop`, then waits for those that run. Jobs that are dropped half-way come back when their
    /// lease has run out.
    pub async fn run_until(&self, db: Db, stop: CancellationToken) {
        let claimer = Claimer {
            db,
            handlers: self.handlers.clone(),
            bell: self.bell.clone(),
            stop,
            poll: self.poll,
            slots: SLOTS,
            turn: self.turn,
        };
        claimer.run().await;
    }
}

#[async_trait]
impl QueueProvider for DbQueue {
    async fn enqueue(
        &self,
        class: String,
        _queue: Option<String>,
        args: Json,
        _tags: Option<Vec<String>>,
        priority: Option<i32>,
    ) -> Result<Option<String>> {
        let mut job = Job::new(class, args);
        job.priority = priority.unwrap_or(0);
        let tx = self.db.begin().await?;
        let id = enqueue_on(tx.connection(), job).await?;
        tx.commit().await?;
        self.bell.ring();
        Ok(id.map(|id| id.to_string()))
    }

    async fn register_handler(&self, name: String, handler: JobHandler) -> Result<()> {
        self.handlers.register(name, handler);
        Ok(())
    }

    async fn run(&self, _tags: Vec<String>) -> Result<()> {
        self.run_until(self.db.clone(), self.stop.clone()).await;
        Ok(())
    }

    /// Nothing to set up: the table is made by the application's migrations.
    async fn setup(&self) -> Result<()> {
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        Ok(listing::clear(&self.db, &self.handlers, None, Duration::ZERO).await?)
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.db.pool().ping().await?)
    }

    async fn get_jobs(&self, status: Option<&Vec<JobStatus>>, age_days: Option<i64>) -> Result<Vec<LocoJob>> {
        let age = days(age_days.unwrap_or(0));
        Ok(listing::list(self.db.pool(), status.map(Vec::as_slice), age).await?)
    }

    async fn cancel_jobs_by_name(&self, name: &str) -> Result<()> {
        Ok(listing::cancel(&self.db, &self.handlers, name).await?)
    }

    async fn clear_by_status(&self, status: Vec<JobStatus>) -> Result<()> {
        Ok(listing::clear(&self.db, &self.handlers, Some(&status), Duration::ZERO).await?)
    }

    async fn clear_jobs_older_than(&self, age_days: i64, status: Option<&Vec<JobStatus>>) -> Result<()> {
        let statuses = status.map(Vec::as_slice);
        Ok(listing::clear(&self.db, &self.handlers, statuses, days(age_days)).await?)
    }

    async fn requeue(&self, age_minutes: &i64) -> Result<()> {
        listing::requeue(self.db.pool(), Duration::from_secs(whole(*age_minutes).saturating_mul(60))).await?;
        Ok(())
    }

    async fn retry_failed(&self, id: Option<&str>) -> Result<u64> {
        let id = id.map(Uuid::parse_str).transpose().map_err(|error| Error::string(&error.to_string()))?;
        let retried = listing::retry(self.db.pool(), id).await?;
        self.bell.ring();
        Ok(retried)
    }

    fn describe(&self) -> String {
        "jobs table in the application's database".to_owned()
    }

    fn shutdown(&self) -> Result<()> {
        self.stop.cancel();
        Ok(())
    }
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn days(number: i64) -> Duration {
    Duration::from_secs(whole(number).saturating_mul(86_400))
}
