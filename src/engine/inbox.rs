//! The loop that reads mailboxes: takes those that are due, and lets each be read in a task of its own. No connection
//! outlives its poll.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{context::EngineContext, doorbell::Doorbell, supervisor::LoopResult};
use crate::{
    clock::Timestamp,
    inbox::{lease, poll::poll},
    state::AppState,
};

/// Mailboxes that a process reads at a time.
const MOST: usize = 64;
/// How often credentials without a mailbox's row are looked for.
const ADOPT_EVERY: Duration = Duration::from_secs(600);

/// Reads until shutdown. What is being read then is given up: nothing of a mail is stored by halves.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    lease::free(&state.db, ctx.process.id).await?;
    let silent = Doorbell::default();
    let mut polls = JoinSet::new();
    let mut adopted: Option<Instant> = None;
    while !ctx.shutdown.is_cancelled() {
        let now = Timestamp::now();
        if adopted.is_none_or(|at| at.elapsed() > ADOPT_EVERY) {
            lease::adopt_missing(&state.db, now).await?;
            adopted = Some(Instant::now());
        }
        let room = MOST.saturating_sub(polls.len());
        for mailbox in lease::claim(&state.db, ctx.process.id, room, now).await? {
            polls.spawn(poll(state.clone(), mailbox));
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = silent.wait(ctx.poll) => {}
            Some(ended) = polls.join_next(), if !polls.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the reading of a mailbox broke down; its lease ends with its time");
                }
            }
        }
    }
    polls.shutdown().await;
    lease::free(&state.db, ctx.process.id).await?;
    Ok(())
}
