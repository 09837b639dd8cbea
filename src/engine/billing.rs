//! The loops of billing: owners are told how much of their plan is used, accounts that are being erased are forgotten by
//! Stripe, and once a night everything is compared with it.

use std::time::Duration;

use super::{context::EngineContext, doorbell::Doorbell, supervisor::LoopResult};
use crate::{billing, clock::Timestamp, errors::ApiResult, state::AppState};

/// How often the night's work is looked for, and accounts whose erasing was broken off.
const NIGHTLY: Duration = Duration::from_secs(60);

/// Tells owners, every few polls. Nobody rings this bell.
pub(super) async fn tell(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        if billing::notices::tell_of_usage(&state.db, Timestamp::now()).await? > 0 {
            ctx.doorbells.jobs.ring();
        }
        if !ctx.wait_at_most(&silent, ctx.poll * 5).await {
            return Ok(());
        }
    }
}

/// Compares with Stripe, if nobody has this night, and has it forget who is being erased. What is under way at shutdown is given up: another one begins anew.
pub(super) async fn reconcile(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        tokio::select! {
            () = ctx.shutdown.cancelled() => return Ok(()),
            done = forget_and_compare(&state) => done?,
        }
        if !ctx.wait_at_most(&silent, NIGHTLY).await {
            return Ok(());
        }
    }
}

async fn forget_and_compare(state: &AppState) -> ApiResult<()> {
    billing::customers::forget_erased(state).await?;
    billing::reconcile_nightly(state, Timestamp::now()).await.map(drop)
}
