//! The loop that declares silent processes dead and voids what they held.

use super::{context::EngineContext, doorbell::Doorbell, process, sender, supervisor::LoopResult};
use crate::state::AppState;

/// Looks at every poll. Nobody rings this bell.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        for dead in process::find_dead(&ctx.db, state.settings.engine.dead_after).await? {
            tracing::warn!(process = %dead, "a process is dead; what it held is void");
        }
        if sender::recover(&state).await? {
            ctx.doorbells.sender.ring();
        }
        if !ctx.wait(&silent).await {
            return Ok(());
        }
    }
}
