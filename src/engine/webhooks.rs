//! The loop that tells endpoints what happened: takes lanes that have something due and lets each work in a task of its
//! own. Endpoints that fail share a part of the room, so that however many of them there are, the others go on.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
        lane::{self, LaneContext, LaneError},
        lanes::{self, FAILING, Lane},
        recorder::Recorder,
    },
};

/// Lanes at a time; each has up to five connections.
const MOST_LANES: usize = 128;
/// How many of them may be endpoints that fail.
const MOST_FAILING: usize = 32;
/// Looks for work at a time.
const LOOKS: usize = 3;

type Ended = Result<(), LaneError>;

/// The lanes at work.
struct Deliverer {
    lanes: JoinSet<Ended>,
    by_task: HashMap<Id, Lane>,
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
        let failing = self.by_task.values().filter(|lane| lane.failures >= FAILING).count();
        let wanted = choose(&free, MOST_LANES - at_work, MOST_FAILING.saturating_sub(failing));
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
        if let Err(error) = ended {
            tracing::error!(webhook = %lane.webhook_id, error, "webhook lane broke down");
            self.give_up(Some(lane.webhook_id)).await?;
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
fn choose(free: &[Lane], room: usize, mut room_failing: usize) -> Vec<Uuid> {
    let mut wanted = Vec::new();
    for lane in free {
        let failing = lane.failures >= FAILING;
        if wanted.len() == room || (failing && room_failing == 0) {
            continue;
        }
        room_failing -= usize::from(failing);
        wanted.push(lane.webhook_id);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_endpoints_never_take_all_the_room() {
        let lane =
            |n: u128, failures| Lane { webhook_id: Uuid::from_u128(n), account_id: Uuid::nil(), failures };
        let free: Vec<Lane> = (0..50).map(|n| lane(n, FAILING)).chain((50..60).map(|n| lane(n, 0))).collect();
        let wanted = choose(&free, 20, 5);
        assert_eq!(wanted.len(), 15);
        assert_eq!(wanted.iter().filter(|id| id.as_u128() < 50).count(), 5);
        assert_eq!(choose(&free, 7, 50).len(), 7);
        assert!(choose(&free, 0, 0).is_empty());
    }
}
