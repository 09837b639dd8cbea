//! `cargo loco task engine`: the engine alone, without a server, any number of times.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, boot::shutdown_signal};
use tokio_util::sync::CancellationToken;

use super::{
    arguments::{Arguments, Manual},
    operation::Operation,
    report::Report,
};
use crate::{engine, http::metrics, state::AppState};

/// Runs the engine until the process is told to stop.
pub(super) struct RunEngine;

#[async_trait]
impl Operation for RunEngine {
    const MANUAL: Manual = Manual {
        name: "engine",
        detail: "Send campaigns and run background jobs until told to stop",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let settings = AppState::prepare_for_task(ctx).await?.settings;
        let stop = CancellationToken::new();
        let asked_to_stop = async {
            shutdown_signal().await;
            stop.cancel();
            tracing::info!("shutting down");
        };
        let engine = async {
            let sends = engine::run(ctx.clone(), settings.engine, stop.clone());
            tokio::try_join!(sends, metrics::serve_alone(ctx, settings.metrics.binding, &stop))
                .map(|_| Report::silent())
        };
        tokio::pin!(engine);
        // The engine ends before it is asked to only when it could not start.
        tokio::select! {
            ended = &mut engine => return ended,
            () = asked_to_stop => {}
        }
        engine.await
    }
}
