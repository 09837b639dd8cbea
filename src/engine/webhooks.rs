//! The loop that tells endpoints what happened: takes lanes that have something due and lets each work in a task of its
//! own. Endpoints that fail or are slow share a part of the room, so that however many of them there are, the others go on.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rand::seq::SliceRandom;
use tokio::{
    sync::Semaphore,
    task::{Id, JoinError, JoinSet},
};
use uuid::Uuid;

use super::{
    context::EngineContext,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    state::AppState,
    webhooks::{
        lane::{self, LaneContext, LaneError, Pace},
        lanes::{self, FAILING, Lane},
        recorder::Recorder,
    },
};

/// Lanes at a time; each has up to five connections.
const MOST_LANES: usize = 128;
/// How many of them may be endpoints that fail, or were slow the last time.
const MOST_HELD_BACK: usize = 32;
/// Slow endpoints that are remembered; past that all have another chance.
const MOST_SLOW: usize = 10_000;
/// Looks for work at a time.
const LOOKS: usize = 3;

type Ended = Result<Pace, LaneError>;

/// Endpoints that were slow at the end of their last turn. Only in memory: a process that starts anew finds out again, a
/// turn each.
#[derive(Default)]
struct Slow(HashSet<Uuid>);

impl Slow {
    fn note(&mut self, webhook: Uuid, pace: Pace) {
        if self.0.len() >= MOST_SLOW {
            self.0.clear();
        }
        match pace {
            Pace::Slow => self.0.insert(webhook),
            Pace::Prompt => self.0.remove(&webhook),
        };
    }

    fn has(&self, webhook: Uuid) -> bool {
        self.0.contains(&webhook)
    }
}

/// The lanes at work.
struct Deliverer {
    lanes: JoinSet<Ended>,
    by_task: HashMap<Id, Lane>,
    slow: Slow,
    shared: LaneContext,
}

/// Delivers until shutdown; then nothing new is begun, and what is on its way is recorded.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let within = state.settings.engine.shutdown.saturating_sub(Duration::from_millis(500));
    let (recorder, writer) = Recorder::new(state.db.clone(), ctx.process.id);
    let mut writers = JoinSet::new();
    writers.spawn(writer.run());
    let mut deliverer = Deliverer {
        lanes: JoinSet::new(),
        by_task: HashMap::new(),
        slow: Slow::default(),
        shared: LaneContext {
            client: state.http.clone(),
            recorder,
            process_id: ctx.process.id,
            liveness: ctx.process.liveness.clone(),
            stop: ctx.shutdown.clone(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            poll: ctx.poll,
            state,
        },
    };
    // What an earlier run of this loop held in the name of this process is nobody's any more.
    deliverer.give_up(None).await?;
    while !ctx.shutdown.is_cancelled() {
        deliverer.fill().await?;
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = ctx.doorbells.webhooks.wait(ctx.poll) => {}
            // Without it nothing that is sent would be recorded, and all of it would be sent again.
            Some(_) = writers.join_next() => return Err("the recorder's writer ended".into()),
            Some(ended) = deliverer.lanes.join_next_with_id(), if !deliverer.lanes.is_empty() => {
                deliverer.leave(ended).await?;
            }
        }
    }
    deliverer.stop(within).await
}

impl Deliverer {
    /// Takes as many lanes as there is room for, in no order: no endpoint is always first.
    async fn fill(&mut self) -> Result<(), BoxError> {
        let at_work = self.by_task.len();
        if at_work >= MOST_LANES {
            return Ok(());
        }
        let db = &self.shared.state.db;
        let mut free = lanes::free(db, Timestamp::now()).await?;
        free.shuffle(&mut rand::rng());
        let held_back = |lane: &Lane| lane.failures >= FAILING || self.slow.has(lane.webhook_id);
        let at_work_too = self.by_task.values().filter(|lane| held_back(lane)).count();
        let wanted =
            choose(&free, held_back, MOST_LANES - at_work, MOST_HELD_BACK.saturating_sub(at_work_too));
        for lane in lanes::take(db, self.shared.process_id, &wanted).await? {
            let task = self.lanes.spawn(lane::run(self.shared.clone(), lane));
            self.by_task.insert(task.id(), lane);
        }
        Ok(())
    }

    /// Forgets a lane whose task ended; one that broke down is given up here.
    async fn leave(&mut self, ended: Result<(Id, Ended), JoinError>) -> Result<(), BoxError> {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended.map_err(|error| error.to_string())),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some(lane) = self.by_task.remove(&id) else { return Ok(()) };
        match ended {
            Ok(pace) => self.slow.note(lane.webhook_id, pace),
            Err(error) => {
                tracing::error!(webhook = %lane.webhook_id, error, "webhook lane broke down");
                self.give_up(Some(lane.webhook_id)).await?;
            }
        }
        Ok(())
    }

    async fn give_up(&self, webhook: Option<Uuid>) -> Result<(), BoxError> {
        lanes::give_up(&self.shared.state.db, self.shared.process_id, webhook).await?;
        Ok(())
    }

    async fn stop(mut self, within: Duration) -> LoopResult {
        let until = tokio::time::Instant::now() + within;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, self.lanes.join_next_with_id()).await {
            self.leave(ended).await?;
        }
        self.lanes.shutdown().await;
        self.give_up(None).await
    }
}

/// The first of each kind that there is room for.
fn choose(
    free: &[Lane],
    is_held_back: impl Fn(&Lane) -> bool,
    room: usize,
    mut room_held_back: usize,
) -> Vec<Uuid> {
    let mut wanted = Vec::new();
    for lane in free {
        let held_back = is_held_back(lane);
        if wanted.len() == room || (held_back && room_held_back == 0) {
            continue;
        }
        room_held_back -= usize::from(held_back);
        wanted.push(lane.webhook_id);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_slow_until_its_next_turn_is_not() {
        let (mut slow, one, other) = (Slow::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        slow.note(one, Pace::of(Duration::from_secs(15)));
        slow.note(other, Pace::of(Duration::from_millis(20)));
        assert!(slow.has(one) && !slow.has(other));
        slow.note(one, Pace::of(Duration::from_millis(999)));
        assert!(!slow.has(one));
    }

    #[test]
    fn those_that_are_held_back_never_take_all_the_room() {
        let lane = |n: u128| Lane { webhook_id: Uuid::from_u128(n), account_id: Uuid::nil(), failures: 0 };
        let free: Vec<Lane> = (0..60).map(lane).collect();
        let held_back = |lane: &Lane| lane.webhook_id.as_u128() < 50;
        let wanted = choose(&free, held_back, 20, 5);
        assert_eq!(wanted.len(), 15);
        assert_eq!(wanted.iter().filter(|id| id.as_u128() < 50).count(), 5);
        assert_eq!(choose(&free, held_back, 7, 50).len(), 7);
        assert!(choose(&free, held_back, 0, 0).is_empty());
    }
}
