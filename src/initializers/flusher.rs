//! What a serving process does beside answering, whether or not it sends: it stores what it counted.

use async_trait::async_trait;
use loco_rs::{
    Result,
    app::{AppContext, Initializer},
};

use crate::{engine, state::AppState};

/// Starts the flusher of what requests counted.
pub(super) struct UsageFlusher;

#[async_trait]
impl Initializer for UsageFlusher {
    fn name(&self) -> String {
        "usage".to_owned()
    }

    async fn before_run(&self, ctx: &AppContext) -> Result<()> {
        let state = AppState::prepare(ctx).await?;
        engine::start_flusher(ctx, state);
        Ok(())
    }
}
