//! The loop that declares silent processes dead and voids what they held. A task that waits for lanes does the same.

use super::{
    context::EngineContext,
    doorbell::Doorbell,
    process, sender,
    supervisor::{BoxError, LoopResult},
};
use crate::state::AppState;

/// Looks at every poll. Nobody rings this bell.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let silent = Doorbell::default();
    loop {
        if tokio::time::timeout(state.settings.engine.patience(), recover(&state)).await?? {
            ctx.doorbells.sender.ring();
        }
        if !ctx.wait(&silent).await {
            return Ok(());
        }
    }
}

/// Declares silent processes dead and voids what they held; answers whether they held anything.
///
/// # Errors
/// What the database refuses.
pub async fn recover(state: &AppState) -> Result<bool, BoxError> {
    for dead in process::declare_dead(&state.db, state.settings.engine.dead_after).await? {
        tracing::warn!(process = %dead, "a process is dead; what it held is void");
    }
    sender::recover(state).await
}
