//! The loop that clears away what has had its time: ended jobs, rows of dead processes, and what was deleted.

use std::{sync::Arc, time::Duration};

use super::{
    context::EngineContext,
    doorbell::Doorbell,
    process,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    jobs::purge_jobs,
    models::{removal, test_messages, webhook_deliveries},
    tenancy::{Conn, SystemScope},
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
        let tx = ctx.writer.begin().await?;
        purged = purge_jobs(tx.connection(), Timestamp::now(), BATCH).await?;
        tx.commit().await?;
    }
    give_up_test_messages(ctx).await?;
    while !ctx.shutdown.is_cancelled() && purge_webhook_deliveries(ctx).await? {}
    while !ctx.shutdown.is_cancelled() && remove_some(ctx).await? {}
    let tx = ctx.writer.begin().await?;
    process::forget_dead(tx.connection()).await?;
    tx.commit().await?;
    Ok(())
}

/// One batch of what was deleted, in a transaction of its own.
async fn remove_some(ctx: &EngineContext) -> Result<bool, BoxError> {
    let tx = Arc::new(ctx.writer.begin().await?);
    let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
    let more = removal::remove_some(&system, Timestamp::now()).await?;
    drop(system);
    if let Some(tx) = Arc::into_inner(tx) {
        tx.commit().await?;
    }
    Ok(more)
}

/// Test messages whose request died with its process.
async fn give_up_test_messages(ctx: &EngineContext) -> Result<(), BoxError> {
    let tx = Arc::new(ctx.writer.begin().await?);
    let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
    let given_up = test_messages::give_up_stale(&system, BATCH).await?;
    drop(system);
    if given_up > 0 {
        tracing::warn!(given_up, "test messages were given up");
    }
    if let Some(tx) = Arc::into_inner(tx) {
        tx.commit().await?;
    }
    Ok(())
}

/// One batch of webhook deliveries that were kept for long enough.
async fn purge_webhook_deliveries(ctx: &EngineContext) -> Result<bool, BoxError> {
    let tx = Arc::new(ctx.writer.begin().await?);
    let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
    let purged = webhook_deliveries::purge(&system, Timestamp::now(), BATCH).await?;
    drop(system);
    tx.commit_shared().await?;
    Ok(purged == u64::from(BATCH))
}
