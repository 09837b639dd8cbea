//! The loop that watches how much each sender bounces.

use super::{context::EngineContext, doorbell::Doorbell, supervisor::LoopResult};
use crate::{clock::Timestamp, sending::health, state::AppState};

/// Looks every few polls. Nobody rings this bell.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        if health::disable_sick(&state.db, Timestamp::now()).await? > 0 {
            ctx.doorbells.webhooks.ring();
        }
        if !ctx.wait_at_most(&silent, ctx.poll * 5).await {
            return Ok(());
        }
    }
}
