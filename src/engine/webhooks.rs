//! The loop that tells endpoints what happened: takes lanes that have something due and lets each work in a task of its
//! own. Endpoints that fail or are slow share a part of the room, so that however many of them there are, the others go on.
//!
//! It outlives its database, as the sender does: what was posted only the lanes at work can record.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rand::seq::SliceRandom;
use sea_orm::DbErr;
use tokio::{
    sync::Semaphore,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use uuid::Uuid;

use super::{context::EngineContext, supervisor::LoopResult};
use crate::{
    clock::Timestamp,
    db,
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
/// How long after an error of the database lanes are looked for that a late commit may have taken.
const UNSURE: Duration = Duration::from_secs(60);
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
    /// Lanes may be held in this process's name that nobody works on: by an earlier run of this loop, by one that broke
    /// down, or taken by a commit whose answer was lost. They are looked for until then, and until none is found.
    unsure_until: Option<Instant>,
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
        // What an earlier run of this loop held in the name of this process is nobody's any more.
        unsure_until: Some(Instant::now()),
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
    while !ctx.shutdown.is_cancelled() {
        tokio::select! {
            () = ctx.shutdown.cancelled() => break,
            () = deliverer.tend() => {}
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = ctx.doorbells.webhooks.wait(ctx.poll) => {}
            // Without it nothing that is sent would be recorded, and all of it would be sent again.
            Some(_) = writers.join_next() => return Err("the recorder's writer ended".into()),
            Some(ended) = deliverer.lanes.join_next_with_id(), if !deliverer.lanes.is_empty() => deliverer.leave(ended),
        }
    }
    deliverer.stop(within).await
}

impl Deliverer {
    /// Gives up what nobody works on, and takes lanes. What fails is tried again at the next look: an error must not end
    /// this loop, since the lanes at work would end with it, and what they posted would be posted again.
    async fn tend(&mut self) {
        let done = [self.give_up_idle().await, self.fill().await];
        if let Err(error) = done.into_iter().collect::<Result<(), _>>() {
            tracing::warn!(%error, "webhook lanes are taken again when the database answers");
            self.unsure_until = Some(Instant::now() + UNSURE);
        }
    }

    /// Gives up the lanes that this process holds and nobody works on.
    async fn give_up_idle(&mut self) -> Result<(), DbErr> {
        let Some(until) = self.unsure_until else { return Ok(()) };
        let at_work: Vec<Uuid> = self.by_task.values().map(|lane| lane.webhook_id).collect();
        let (db, process) = (&self.shared.state.db, self.shared.process_id);
        if db::in_time(lanes::give_up(db, process, &at_work)).await? == 0 && Instant::now() >= until {
            self.unsure_until = None;
        }
        Ok(())
    }

    /// Takes as many lanes as there is room for, in no order: no endpoint is always first.
    async fn fill(&mut self) -> Result<(), DbErr> {
        let at_work = self.by_task.len();
        if at_work >= MOST_LANES {
            return Ok(());
        }
        let db = &self.shared.state.db;
        let mut free = db::in_time(lanes::free(db, Timestamp::now())).await?;
        free.shuffle(&mut rand::rng());
        let held_back = |lane: &Lane| lane.failures >= FAILING || self.slow.has(lane.webhook_id);
        let at_work_too = self.by_task.values().filter(|lane| held_back(lane)).count();
        let wanted =
            choose(&free, held_back, MOST_LANES - at_work, MOST_HELD_BACK.saturating_sub(at_work_too));
        for lane in db::in_time(lanes::take(db, self.shared.process_id, &wanted)).await? {
            let task = self.lanes.spawn(lane::run(self.shared.clone(), lane));
            self.by_task.insert(task.id(), lane);
        }
        Ok(())
    }

    /// Forgets a lane whose task ended; one that broke down is given up at the next look.
    fn leave(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended.map_err(|error| error.to_string())),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some(lane) = self.by_task.remove(&id) else { return };
        match ended {
            Ok(pace) => self.slow.note(lane.webhook_id, pace),
            Err(error) => {
                tracing::error!(webhook = %lane.webhook_id, error, "webhook lane broke down");
                self.unsure_until = self.unsure_until.max(Some(Instant::now()));
            }
        }
    }

    async fn stop(mut self, within: Duration) -> LoopResult {
        let until = Instant::now() + within;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, self.lanes.join_next_with_id()).await {
            self.leave(ended);
        }
        self.lanes.shutdown().await;
        db::in_time(lanes::give_up(&self.shared.state.db, self.shared.process_id, &[])).await?;
        Ok(())
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
