//! One lane at work. It begins with one connection; where it has much to send without pauses, others come beside it, so
//! that more of its messages share a commit and a round trip ([ADR 15](../../docs/adr/0015-a-lane-may-use-several-connections.md)).
//! How the lane rests is told by the first.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use sea_orm::DbErr;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    lanes::{Lane, Rest},
    ledger::{Ledger, LedgerError},
    smtp::Timeouts,
    worker,
};
use crate::{clock::Timestamp, engine::Liveness, state::AppState};

/// What every lane of a process shares.
#[derive(Clone)]
pub struct LaneContext {
    /// Settings, keys and doors.
    pub state: AppState,
    /// Where claims, marks and records go.
    pub ledger: Ledger,
    /// The process that holds the lanes.
    pub process_id: Uuid,
    /// Whether it may still act.
    pub liveness: Liveness,
    /// Cancelled when nothing new is to be begun.
    pub stop: CancellationToken,
    /// How long the phases of SMTP may take.
    pub timeouts: Timeouts,
    /// How long a lane may send before it gives its place to others; a message it has begun is finished.
    pub turn: Duration,
    /// The most connections of a lane at a time, from 1.
    pub connections: usize,
}

/// Why a lane ended without a rest of its own.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// What the connections of a lane share.
pub(super) struct Crew {
    /// That of the process, but for `stop`: it is cancelled as well when how one connection ended ends them all.
    pub(super) ctx: LaneContext,
    /// Cancelled when a connection beside the first is not worth waiting for any more.
    pub(super) alone: CancellationToken,
    /// Told by one that served and could take no more at a time: there is work for another.
    pub(super) more: Notify,
    begun: Instant,
    /// When the first recipient was accepted: a server slow to greet is not greeted in vain.
    opened: OnceLock<Instant>,
    served: Arc<AtomicBool>,
}

impl Crew {
    fn of(ctx: LaneContext, served: Arc<AtomicBool>) -> Self {
        let stop = ctx.stop.child_token();
        Self {
            alone: stop.child_token(),
            ctx: LaneContext { stop, ..ctx },
            more: Notify::new(),
            begun: Instant::now(),
            opened: OnceLock::new(),
            served,
        }
    }

    /// Notes that a recipient was accepted.
    pub(super) fn note_open(&self) {
        self.opened.get_or_init(Instant::now);
    }

    /// Notes that the server accepted a message.
    pub(super) fn note_served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Whether it accepted one, on any of the connections.
    pub(super) fn was_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Asked behind a message, so that each turn sends one at least. Whoever has waited longer is taken first then.
    pub(super) fn turn_is_over(&self) -> bool {
        self.opened.get().unwrap_or(&self.begun).elapsed() >= self.ctx.turn
    }
}

/// How the connections of a lane ended, taken together.
struct Ended {
    rest: Rest,
    error: Option<LaneError>,
}

impl Ended {
    /// Adds how one ended. The trouble of another than the first is its own affair, and so is a refusal of the sender before it
    /// served: servers bound how many connections they take from one sender, and say so in many ways.
    fn add(&mut self, first: bool, ended: Result<(Rest, bool), LaneError>) {
        match ended {
            Ok((rest, served)) => {
                let closed = matches!(rest, Rest::Closed { .. });
                if (first && !self.is_closed()) || (closed && served) {
                    self.rest = rest;
                }
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    const fn is_closed(&self) -> bool {
        matches!(self.rest, Rest::Closed { .. })
    }

    /// Whether it is over for all of them: also where the campaign waits between messages from now on.
    fn for_all(&self) -> bool {
        let rests = match self.rest {
            Rest::Trouble(_) | Rest::Closed { .. } => true,
            Rest::Pause(until) => until > Timestamp::now(),
            Rest::UntilDue => false,
        };
        rests || self.error.is_some()
    }
}

/// Works until the lane is to rest. `true` beside it: the server accepted something.
///
/// # Errors
/// When ledger or database stay away; what the lane holds must be voided.
pub async fn run(ctx: LaneContext, lane: Lane) -> Result<(Rest, bool), LaneError> {
    run_seen(ctx, lane, Arc::default()).await
}

/// The same, and others see meanwhile whether the server accepted something.
///
/// # Errors
/// As above.
pub async fn run_seen(
    ctx: LaneContext,
    lane: Lane,
    served: Arc<AtomicBool>,
) -> Result<(Rest, bool), LaneError> {
    let crew = Arc::new(Crew::of(ctx, served));
    let start = |first| {
        let work = worker::work(Arc::clone(&crew), lane, first);
        async move { (first, work.await) }
    };
    let mut at_work = FuturesUnordered::from_iter([start(true)]);
    let mut room = crew.ctx.connections.saturating_sub(1);
    let mut whole = Ended { rest: Rest::UntilDue, error: None };
    loop {
        tokio::select! {
            Some((first, ended)) = at_work.next() => {
                // As many as the server lets in, or more than there is work for.
                room = 0;
                whole.add(first, ended);
                if first {
                    crew.alone.cancel();
                }
                if whole.for_all() {
                    crew.ctx.stop.cancel();
                }
            }
            () = crew.more.notified(), if room > 0 => {
                room -= 1;
                at_work.push(start(false));
            }
            else => break,
        }
    }
    whole.error.map_or(Ok((whole.rest, crew.was_served())), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{smtp_credentials::Tried, states::DisabledReason};

    fn whole(ended: impl IntoIterator<Item = (bool, Rest, bool)>) -> Ended {
        let mut whole = Ended { rest: Rest::UntilDue, error: None };
        for (first, rest, served) in ended {
            whole.add(first, Ok((rest, served)));
        }
        whole
    }

    #[test]
    fn how_a_lane_rests_is_told_by_its_first_connection_and_by_a_sender_that_is_refused() {
        let closed = Rest::Closed {
            reason: DisabledReason::Auth,
            tried: Tried::of("host", 25, "user", b"sealed", "one@sender.test"),
        };
        let (trouble, pause) = (Rest::Trouble(Timestamp(1)), Rest::Pause(Timestamp(2)));
        let long = Rest::Pause(Timestamp::now().plus(Duration::from_secs(600)));
        let cases = [
            (vec![(false, trouble, true), (true, pause, true)], pause, false),
            (vec![(true, trouble, false), (false, pause, true)], trouble, true),
            (vec![(true, Rest::UntilDue, true), (false, trouble, true)], Rest::UntilDue, false),
            (vec![(false, closed, true), (true, pause, true)], closed, true),
            (vec![(false, closed, false), (true, pause, true)], pause, false),
            (vec![(true, closed, false)], closed, true),
            (vec![(true, long, true)], long, true),
        ];
        for (ended, rest, for_all) in cases {
            let whole = whole(ended.clone());
            assert_eq!((whole.rest, whole.for_all()), (rest, for_all), "{ended:?}");
        }
    }
}
