//! The loop that reads mailboxes: takes those that are due, and lets each be read in a task of its own. No connection
//! outlives its poll, and none ends because the database refused something else.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use tokio::task::{Id, JoinSet};
use uuid::Uuid;

use super::{context::EngineContext, doorbell::Doorbell, supervisor::LoopResult};
use crate::{
    clock::Timestamp,
    db,
    errors::ApiResult,
    inbox::{lease, poll::poll},
    state::AppState,
};

/// Mailboxes that a process reads at a time.
const MOST: usize = 64;
/// An account of which so many are being read gets no further ones until some of them are left: servers that never end,
/// of one account, hold up nobody else's. Since so many are taken at a time, it may have nearly twice as many.
const MOST_OF_ONE: usize = 8;
/// How often credentials without a mailbox's row are looked for.
const ADOPT_EVERY: Duration = Duration::from_secs(600);

/// What is being read, and for whom.
#[derive(Default)]
struct Polls {
    tasks: JoinSet<()>,
    accounts: HashMap<Id, Uuid>,
}

impl Polls {
    /// Accounts that are to wait.
    fn crowded(&self) -> Vec<Uuid> {
        let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
        for account in self.accounts.values() {
            *counts.entry(*account).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= MOST_OF_ONE).map(|(account, _)| account).collect()
    }

    /// Begins to read what is due, as far as there is room.
    async fn begin(&mut self, state: &AppState, process: Uuid, now: Timestamp) -> ApiResult<()> {
        loop {
            let room = MOST.saturating_sub(self.tasks.len()).min(MOST_OF_ONE);
            let taken = db::in_time(lease::claim(&state.db, process, room, &self.crowded(), now)).await?;
            if taken.is_empty() {
                return Ok(());
            }
            for mailbox in taken {
                let account = mailbox.account_id;
                let task = self.tasks.spawn(poll(state.clone(), mailbox));
                self.accounts.insert(task.id(), account);
            }
        }
    }

    /// Waits until one is read; never where there is none.
    async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                tracing::error!(%error, "the reading of a mailbox broke down; its lease ends with its time");
                error.id()
            }
        };
        self.accounts.remove(&id);
    }
}

/// Reads until shutdown. What is being read then is given up: nothing of a mail is stored by halves.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    db::in_time(lease::free(&state.db, ctx.process.id)).await?;
    let silent = Doorbell::default();
    let mut polls = Polls::default();
    let mut adopted: Option<Instant> = None;
    while !ctx.shutdown.is_cancelled() {
        let now = Timestamp::now();
        tokio::select! {
            () = ctx.shutdown.cancelled() => break,
            () = async {
                if adopted.is_none_or(|at| at.elapsed() > ADOPT_EVERY) {
                    match db::in_time(lease::adopt_missing(&state.db, now)).await {
                        Ok(()) => adopted = Some(Instant::now()),
                        Err(error) => tracing::warn!(cause = ?error.cause_chain(), "mailboxes are adopted later"),
                    }
                }
                // A lease that was taken by a commit whose answer was lost ends with its time.
                if let Err(error) = polls.begin(&state, ctx.process.id, now).await {
                    tracing::warn!(cause = ?error.cause_chain(), "mailboxes are read again when the database answers");
                }
            } => {}
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = silent.wait(ctx.poll) => {}
            () = polls.ended() => {}
        }
    }
    polls.tasks.shutdown().await;
    db::in_time(lease::free(&state.db, ctx.process.id)).await?;
    Ok(())
}
