//! The loop that clears away what has had its time: ended jobs, rows of dead processes, and what was deleted.

use std::time::Duration;

use super::{
    context::EngineContext,
    doorbell::Doorbell,
    process,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    jobs::purge_jobs,
    models::{idempotency_keys, removal, test_messages, usage, webhook_deliveries},
    tenancy::SystemScope,
};

const EVERY: Duration = Duration::from_secs(60);
/// Rows per statement, so that no write transaction is long.
const BATCH: u32 = 1_000;

/// Sweeps once a minute. Nobody rings this bell.
pub(super) async fn run(ctx: EngineContext) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        sweep(&ctx).await?;
        if !ctx.wait_at_most(&silent, EVERY).await {
            return Ok(());
        }
    }
}

async fn sweep(ctx: &EngineContext) -> Result<(), BoxError> {
    let mut purged = u64::from(BATCH);
    while purged == u64::from(BATCH) && !ctx.shutdown.is_cancelled() {
        purged = SystemScope::in_transaction(&ctx.writer, async |system| {
            purge_jobs(&system.db(), Timestamp::now(), BATCH).await
        })
        .await?;
    }
    give_up_test_messages(ctx).await?;
    while !ctx.shutdown.is_cancelled() && purge_webhook_deliveries(ctx).await? {}
    while !ctx.shutdown.is_cancelled() && forget_answers(ctx).await? {}
    while !ctx.shutdown.is_cancelled() && purge_usage(ctx).await? {}
    while !ctx.shutdown.is_cancelled() && remove_some(ctx).await? {}
    SystemScope::in_transaction(&ctx.writer, async |system| process::forget_dead(&system.db()).await).await?;
    Ok(())
}

/// One batch of stored answers whose day is over.
async fn forget_answers(ctx: &EngineContext) -> Result<bool, BoxError> {
    let work = async |system: &SystemScope| idempotency_keys::purge(system, Timestamp::now(), BATCH).await;
    let gone = SystemScope::in_transaction(&ctx.writer, work).await?;
    Ok(gone == u64::from(BATCH))
}

/// One batch of what was deleted, in a transaction of its own.
async fn remove_some(ctx: &EngineContext) -> Result<bool, BoxError> {
    let work = async |system: &SystemScope| removal::remove_some(system, Timestamp::now()).await;
    Ok(SystemScope::in_transaction(&ctx.writer, work).await?)
}

/// Test messages whose request died with its process.
async fn give_up_test_messages(ctx: &EngineContext) -> Result<(), BoxError> {
    let work = async |system: &SystemScope| test_messages::give_up_stale(system, BATCH).await;
    let given_up = SystemScope::in_transaction(&ctx.writer, work).await?;
    if given_up > 0 {
        tracing::warn!(given_up, "test messages were given up");
    }
    Ok(())
}

/// One batch of webhook deliveries that were kept for long enough.
async fn purge_webhook_deliveries(ctx: &EngineContext) -> Result<bool, BoxError> {
    let work = async |system: &SystemScope| webhook_deliveries::purge(system, Timestamp::now(), BATCH).await;
    let purged = SystemScope::in_transaction(&ctx.writer, work).await?;
    Ok(purged == u64::from(BATCH))
}

/// One batch of hourly sums of requests that were kept for long enough.
async fn purge_usage(ctx: &EngineContext) -> Result<bool, BoxError> {
    let work = async |system: &SystemScope| usage::purge(system, Timestamp::now(), BATCH).await;
    let purged = SystemScope::in_transaction(&ctx.writer, work).await?;
    Ok(purged == u64::from(BATCH))
}
