//! The loop that clears away what has had its time: ended jobs, rows of dead processes, and what was deleted. An operator
//! can have it done at once (`task purge`).

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    context::EngineContext,
    process,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    db::{self, Db},
    errors::ApiResult,
    jobs::purge_jobs,
    models::{idempotency_keys, removal, stripe_events, test_messages, usage, webhook_deliveries},
    tenancy::SystemScope,
};

const EVERY: Duration = Duration::from_secs(60);
/// Rows per statement, so that no write transaction is long.
const BATCH: u32 = 1_000;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Ended jobs that were kept for long enough.
    pub jobs: u64,
    /// Test messages that were given up, because their request died.
    pub test_messages_given_up: u64,
    /// Webhook deliveries, with their attempts, that were kept for long enough.
    pub webhook_deliveries: u64,
    /// Stored answers whose day is over.
    pub idempotency_keys: u64,
    /// Hourly sums of requests that were kept for long enough.
    pub usage_hours: u64,
    /// Events of Stripe that were kept for long enough.
    pub stripe_events: u64,
    /// Batches of rows that had been deleted.
    pub deleted_batches: u64,
    /// Rows of processes that are long dead.
    pub engine_processes: u64,
}

/// Sweeps once a minute, and when an import or a campaign was deleted: until it is removed it is in its neighbours' counts.
pub(super) async fn run(ctx: EngineContext) -> LoopResult {
    loop {
        let swept = sweep(&ctx.db, &ctx.shutdown).await?;
        if swept.test_messages_given_up > 0 {
            tracing::warn!(given_up = swept.test_messages_given_up, "test messages were given up");
        }
        if !ctx.wait_at_most(&ctx.doorbells.sweeper, EVERY).await {
            return Ok(());
        }
    }
}

/// Clears away whatever has had its time, in transactions of bounded size, until nothing is left or `stop`.
///
/// # Errors
/// What the database refuses.
pub async fn sweep(db: &Db, stop: &CancellationToken) -> Result<Swept, BoxError> {
    let give_up = async |system: &SystemScope| test_messages::give_up_stale(system, BATCH).await;
    let forget_dead = async |system: &SystemScope| process::forget_dead(&system.db()).await;
    Ok(Swept {
        jobs: purge(db, stop, Kept::Jobs).await?,
        test_messages_given_up: db::in_time(SystemScope::in_transaction(db, give_up)).await? as u64,
        webhook_deliveries: purge(db, stop, Kept::WebhookDeliveries).await?,
        idempotency_keys: purge(db, stop, Kept::Answers).await?,
        usage_hours: purge(db, stop, Kept::Usage).await?,
        stripe_events: purge(db, stop, Kept::StripeEvents).await?,
        deleted_batches: remove_deleted(db, stop).await?,
        engine_processes: db::in_time(SystemScope::in_transaction(db, forget_dead)).await?,
    })
}

/// What is kept for a while.
#[derive(Clone, Copy)]
enum Kept {
    Jobs,
    WebhookDeliveries,
    Answers,
    Usage,
    StripeEvents,
}

impl Kept {
    /// Removes a batch of what was kept for long enough; answers how many.
    async fn purge_some(self, system: &SystemScope) -> ApiResult<u64> {
        let now = Timestamp::now();
        Ok(match self {
            Self::Jobs => purge_jobs(&system.db(), now, BATCH).await?,
            Self::WebhookDeliveries => webhook_deliveries::purge(system, now, BATCH).await?,
            Self::Answers => idempotency_keys::purge(system, now, BATCH).await?,
            Self::Usage => usage::purge(system, now, BATCH).await?,
            Self::StripeEvents => stripe_events::purge(system, now, BATCH).await?,
        })
    }
}

/// Batch after batch, each in a transaction of its own; answers how many rows.
async fn purge(db: &Db, stop: &CancellationToken, kept: Kept) -> ApiResult<u64> {
    let mut gone = 0;
    loop {
        let work = async |system: &SystemScope| kept.purge_some(system).await;
        let some = db::in_time(SystemScope::in_transaction(db, work)).await?;
        gone += some;
        if some < u64::from(BATCH) || stop.is_cancelled() {
            return Ok(gone);
        }
    }
}

/// What was deleted, in batches; answers how many.
async fn remove_deleted(db: &Db, stop: &CancellationToken) -> ApiResult<u64> {
    let mut batches = 0;
    while !stop.is_cancelled() && remove_batch(db).await? {
        batches += 1;
    }
    Ok(batches)
}

async fn remove_batch(db: &Db) -> ApiResult<bool> {
    let work = async |system: &SystemScope| removal::remove_some(system, Timestamp::now()).await;
    db::in_time(SystemScope::in_transaction(db, work)).await
}
