//! `purge`: what the engine clears away once a minute, at once and counted.

use async_trait::async_trait;
use loco_rs::{Error, Result, app::AppContext};
use tokio_util::sync::CancellationToken;

use super::{
    arguments::{Arguments, Manual},
    operation::{Desk, Operation},
    report::Report,
};
use crate::engine;

/// Clears away.
pub(super) struct Purge;

#[async_trait]
impl Operation for Purge {
    const MANUAL: Manual = Manual {
        name: "purge",
        detail: "Remove what was kept for long enough (jobs, answers, webhook attempts, usage) or was deleted",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let desk = Desk::open(ctx).await?;
        let swept = engine::sweep(&desk.state.db, &CancellationToken::new()).await;
        Report::of(&swept.map_err(|error| Error::Message(error.to_string()))?)
    }
}
