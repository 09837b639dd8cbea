//! The engine inside `cargo loco start`, when the configuration says so.

use async_trait::async_trait;
use loco_rs::{
    Result,
    app::{AppContext, Initializer},
};

use crate::{engine, state::AppState};

/// Starts the engine in the server's process, where `ENGINE_EMBEDDED` is on.
pub(super) struct EmbeddedEngine;

#[async_trait]
impl Initializer for EmbeddedEngine {
    fn name(&self) -> String {
        "engine".to_owned()
    }

    async fn before_run(&self, ctx: &AppContext) -> Result<()> {
        let settings = AppState::prepare(ctx).await?.settings.engine;
        if settings.embedded {
            engine::start_embedded(ctx, settings).await?;
        }
        Ok(())
    }
}
