//! The loops of billing: owners are told how much of their plan is used, and once a night everything is compared with Stripe.

use std::time::Duration;

use super::{context::EngineContext, doorbell::Doorbell, supervisor::LoopResult};
use crate::{billing, clock::Timestamp, state::AppState};

/// How often the night's work is looked for.
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

/// Compares with Stripe, if nobody has this night. What is under way at shutdown is given up: another one begins anew.
pub(super) async fn reconcile(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        tokio::select! {
            () = ctx.shutdown.cancelled() => return Ok(()),
            done = billing::reconcile_nightly(&state, Timestamp::now()) => done.map(drop)?,
        }
        if !ctx.wait_at_most(&silent, NIGHTLY).await {
            return Ok(());
        }
    }
}
