//! The loop that sends: takes lanes that are awake, lets each work in a task of its own, and leaves them.
//!
//! It outlives its database: what is not answered is asked again, and the lanes at work go on meanwhile, because what
//! they have written to a mail server only they can record.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use uuid::Uuid;

use super::{
    context::EngineContext,
    places,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    models::smtp_credentials,
    sending::{
        lane::{self, LaneContext, LaneError},
        lanes::{self, Idle, Lane, Rest},
        ledger::{self, Holder, Ledger},
        retry,
        smtp::Timeouts,
        stranded,
    },
    state::AppState,
    tenancy::SystemScope,
};

/// How long after an error of the database lanes are looked for that a late commit may have taken.
const UNSURE: Duration = Duration::from_secs(60);
/// How many lanes are left at a time.
const LEFT_AT_A_TIME: usize = 4;
/// How long after a failure a lane is left again, and that much longer each time …
const LEAVE_AGAIN: Duration = Duration::from_millis(50);
/// … up to this.
const LEAVE_AGAIN_MOST: Duration = Duration::from_secs(2);
/// What a stop keeps of its time for the database.
const STOP_MARGIN: Duration = Duration::from_millis(500);

type Ended = Result<(Rest, bool), LaneError>;

/// A lane whose task ended, and whose row does not say so yet.
#[derive(Clone, Copy)]
struct Leaving {
    lane: Lane,
    rest: Rest,
    served: bool,
    /// What it holds is to be voided.
    broken: bool,
}

/// A lane at work.
struct AtWork {
    lane: Lane,
    /// Whether its server accepted something in this turn.
    served: Arc<AtomicBool>,
}

impl AtWork {
    /// Whether its server failed it the last time, and did not make up for it.
    fn is_failing(&self) -> bool {
        self.lane.failures > 0 && !self.served.load(Ordering::Relaxed)
    }
}

/// The lanes at work, and those that are being left.
struct Sender {
    lanes: JoinSet<Ended>,
    by_task: HashMap<Id, AtWork>,
    leaving: JoinSet<()>,
    by_leaving: HashMap<Id, Lane>,
    leave: Leave,
    /// Lanes may be held in this process's name that nobody works on: by an earlier run of this loop, or taken by a
    /// commit whose answer was lost. They are looked for until then, and until none is found.
    unsure_until: Option<Instant>,
    shared: LaneContext,
    most: usize,
}

/// What it takes to leave a lane.
#[derive(Clone)]
struct Leave {
    state: AppState,
    process_id: Uuid,
    /// How many may be left at a time, so that those which wait for a lock leave the others a connection.
    turns: Arc<Semaphore>,
    /// How long the database may say nothing.
    patience: Duration,
}

/// Sends until shutdown; then nothing new is begun, and what is marked is finished in time.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let settings = state.settings.engine;
    let patience = settings.patience();
    let (ledger, writer) =
        Ledger::new(&state.db, ctx.doorbells.webhooks.clone(), state.settings.inbox.fresh, patience);
    let mut writers = JoinSet::new();
    writers.spawn(writer.run());
    let turns = Arc::new(Semaphore::new(LEFT_AT_A_TIME));
    let mut sender = Sender {
        lanes: JoinSet::new(),
        by_task: HashMap::new(),
        leaving: JoinSet::new(),
        by_leaving: HashMap::new(),
        leave: Leave { state: state.clone(), process_id: ctx.process.id, turns, patience },
        unsure_until: Some(Instant::now()),
        most: settings.concurrency,
        shared: LaneContext {
            process_id: ctx.process.id,
            liveness: ctx.process.liveness.clone(),
            stop: ctx.shutdown.clone(),
            timeouts: Timeouts { final_reply: settings.final_reply, ..Timeouts::default() },
            turn: settings.turn,
            connections: settings.connections,
            state,
            ledger,
        },
    };
    // What an earlier run of this loop held in the name of this process is nobody's any more.
    tokio::time::timeout(patience, void_all(&sender.leave.state, Holder::Process(ctx.process.id))).await??;
    while !ctx.shutdown.is_cancelled() {
        tokio::select! {
            () = ctx.shutdown.cancelled() => break,
            () = sender.tend() => {}
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = ctx.doorbells.sender.wait(ctx.poll) => {}
            // It ends by a panic only, and nothing goes without it.
            _ = writers.join_next() => return Err("the ledger's writer ended".into()),
            Some(ended) = sender.lanes.join_next_with_id(), if !sender.lanes.is_empty() => sender.note(ended),
            Some(left) = sender.leaving.join_next_with_id(), if !sender.leaving.is_empty() => sender.left(&left),
        }
    }
    Box::pin(sender.stop(writers, settings.shutdown.saturating_sub(STOP_MARGIN * 2))).await
}

impl Sender {
    /// Takes lanes, and frees those that nobody works on. What fails is tried again at the next look: an error must not
    /// end this loop, since the lanes at work would end with it.
    async fn tend(&mut self) {
        let patience = self.leave.patience;
        let done = tokio::time::timeout(patience, async {
            [self.free_idle().await, self.fill().await].into_iter().collect::<Result<(), _>>()
        });
        if let Err(error) = done.await.unwrap_or_else(|silent| Err(silent.into())) {
            tracing::warn!(%error, "lanes are taken again when the database answers");
            self.unsure_until = Some(Instant::now() + UNSURE);
        }
    }

    /// Takes as many lanes as there is room for, and few of those that fail. One that is being left is not taken: it may be
    /// free already, and would be left again while it works.
    async fn fill(&mut self) -> Result<(), BoxError> {
        let failing = self.by_task.values().filter(|at_work| at_work.is_failing());
        let room = places::room(self.most, self.lanes.len(), failing.map(|at_work| at_work.lane.account_id));
        let (db, process) = (&self.shared.state.db, self.shared.process_id);
        let leaving: Vec<Uuid> = self.by_leaving.values().map(|lane| lane.credential_id).collect();
        for lane in lanes::acquire(db, process, &room, &leaving, Timestamp::now()).await? {
            let served = Arc::<AtomicBool>::default();
            let task = self.lanes.spawn(lane::run_seen(self.shared.clone(), lane, Arc::clone(&served)));
            self.by_task.insert(task.id(), AtWork { lane, served });
        }
        Ok(())
    }

    /// Frees the lanes that this process holds and nobody works on. Rows that are locked are left for the next look.
    async fn free_idle(&mut self) -> Result<(), BoxError> {
        let Some(until) = self.unsure_until else { return Ok(()) };
        let at_work = self.by_task.values().map(|at_work| &at_work.lane);
        let lanes = at_work.chain(self.by_leaving.values());
        let at_work: Vec<Uuid> = lanes.map(|lane| lane.credential_id).collect();
        let whose = Idle::Of(self.shared.process_id, &at_work);
        let left = SystemScope::in_transaction(&self.shared.state.db, async |system| {
            lanes::free(system, whose, Timestamp::now()).await?;
            lanes::count_idle(system, whose).await
        })
        .await?;
        if left == 0 && Instant::now() >= until {
            self.unsure_until = None;
        }
        Ok(())
    }

    /// Notes how a lane ended, and begins to leave it. One that broke down with its database rests for a moment, one that
    /// panicked as if its server were in trouble.
    fn note(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended.map_err(|error| (error.to_string(), false))),
            Err(error) => (error.id(), Err((error.to_string(), true))),
        };
        let Some(AtWork { lane, .. }) = self.by_task.remove(&id) else { return };
        let (rest, served, broken) = match ended {
            Ok((rest, served)) => (rest, served, false),
            Err((error, panicked)) => {
                tracing::error!(lane = %lane.credential_id, error, "lane broke down");
                let failures = if panicked { lane.failures.saturating_add(1) } else { 1 };
                let until = Timestamp::now().plus(retry::lane_rest(failures, rand::random()));
                (if panicked { Rest::Trouble(until) } else { Rest::Pause(until) }, false, true)
            }
        };
        let task = self.leaving.spawn(self.leave.clone().until_done(Leaving { lane, rest, served, broken }));
        self.by_leaving.insert(task.id(), lane);
    }

    /// Notes that a lane was left.
    fn left(&mut self, left: &Result<(Id, ()), JoinError>) {
        let id = match left {
            Ok((id, ())) => *id,
            Err(error) => {
                tracing::error!(%error, "a lane could not be left");
                self.unsure_until = Some(Instant::now());
                error.id()
            }
        };
        self.by_leaving.remove(&id);
    }

    /// Lets lanes finish what is marked; what is not finished in time is uncertain.
    async fn stop(mut self, mut writers: JoinSet<()>, within: Duration) -> LoopResult {
        let until = Instant::now() + within;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, self.lanes.join_next_with_id()).await {
            self.note(ended);
        }
        self.lanes.shutdown().await;
        self.by_task.clear();
        let Self { leave, mut leaving, mut by_leaving, shared, .. } = self;
        // What lanes asked for last is written before what they held is voided.
        drop(shared.ledger);
        let until = until.max(Instant::now() + STOP_MARGIN);
        let drained = async {
            while writers.join_next().await.is_some() {}
            while let Some(left) = leaving.join_next_with_id().await {
                by_leaving.remove(&left.map_or_else(|error| error.id(), |(id, ())| id));
            }
        };
        if tokio::time::timeout_at(until, drained).await.is_err() {
            tracing::warn!(lanes = by_leaving.len(), "some lanes could not be left in time");
        }
        leaving.shutdown().await;
        void_all(&leave.state, Holder::Process(leave.process_id)).await?;
        let free = async |system: &SystemScope| {
            lanes::free(system, Idle::Of(leave.process_id, &[]), Timestamp::now()).await
        };
        SystemScope::in_transaction(&leave.state.db, free).await?;
        Ok(())
    }
}

impl Leave {
    /// Leaves a lane, and tries until it is done. It may be left twice, where the answer to the first time was lost.
    async fn until_done(self, leaving: Leaving) {
        let mut tries = 0;
        loop {
            let done = async {
                let _turn = self.turns.acquire().await?;
                tokio::time::timeout(self.patience, self.once(leaving)).await?
            };
            let Err(error) = done.await else { return };
            tracing::warn!(lane = %leaving.lane.credential_id, %error, "the lane is left when the database lets it go");
            tries += 1;
            tokio::time::sleep(LEAVE_AGAIN.saturating_mul(tries).min(LEAVE_AGAIN_MOST)).await;
        }
    }

    async fn once(&self, Leaving { lane, rest, served, broken }: Leaving) -> Result<(), BoxError> {
        let fresh = self.state.settings.inbox.fresh;
        // It waits for the campaign, and so for a claim whose commit is still under way: then all that is held is seen.
        lanes::release(&self.state.db, self.process_id, &lane, (&rest, served), fresh).await?;
        if broken {
            void_all(&self.state, Holder::Lane(self.process_id, lane.credential_id)).await?;
        }
        Ok(())
    }
}

/// Voids in transactions of bounded size until nothing is left. Returns whether there was anything.
pub(super) async fn void_all(state: &AppState, holder: Holder) -> Result<bool, BoxError> {
    let mut any = false;
    loop {
        let now = Timestamp::now();
        let campaigns = SystemScope::in_transaction(&state.db, async |system| {
            let campaigns = ledger::void(system, holder, now).await?;
            for (account, campaign) in &campaigns {
                smtp_credentials::wake_lanes(&system.account(*account), *campaign, now).await?;
            }
            Ok::<_, sea_orm::DbErr>(campaigns)
        })
        .await?;
        if campaigns.is_empty() {
            return Ok(any);
        }
        any = true;
    }
}

/// Voids what the dead held, account by account: what somebody keeps locked of one must not keep what is of others.
async fn void_dead(state: &AppState) -> Result<bool, BoxError> {
    let mut done = name_dead_holders(state).await.map(|()| false);
    for account in ledger::bereaved(&state.reads()).await? {
        match (void_all(state, Holder::Dead(account)).await, &mut done) {
            (Ok(any), Ok(before)) => *before |= any,
            (Err(error), Ok(_)) => done = Err(error),
            (_, Err(_)) => {}
        }
    }
    done
}

/// Lets what the dead held be found who did not say in the enrollment that they do.
async fn name_dead_holders(state: &AppState) -> Result<(), BoxError> {
    if !ledger::are_holders_unnamed(&state.reads()).await? {
        return Ok(());
    }
    let name = async |system: &SystemScope| ledger::name_dead_holders(system).await;
    while SystemScope::in_transaction(&state.db, name).await? > 0 {}
    Ok(())
}

/// Voids what the dead held, frees their lanes, and moves enrollments off lanes that are closed for good.
pub(super) async fn recover(state: &AppState) -> Result<bool, BoxError> {
    // Each for itself: what somebody keeps locked of one account must not keep the lanes of others.
    let voided = void_dead(state).await;
    let free = async |system: &SystemScope| lanes::free(system, Idle::OfDead, Timestamp::now()).await;
    let freed = SystemScope::in_transaction(&state.db, free).await;
    let moved = stranded::move_stranded(&state.db, Timestamp::now()).await;
    Ok(voided? | (freed? > 0) | (moved? > 0))
}
