//! The loop that sends: takes lanes that are awake, lets each work in a task of its own, and leaves them.

use std::{collections::HashMap, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};

use super::{
    context::EngineContext,
    supervisor::{BoxError, LoopResult},
};
use crate::{
    clock::Timestamp,
    sending::{
        lane::{self, LaneContext, LaneError},
        lanes::{self, Lane, Rest},
        ledger::{self, Holder, Ledger},
        retry,
        smtp::Timeouts,
    },
    state::AppState,
    tenancy::SystemScope,
};

type Ended = Result<(Rest, bool), LaneError>;

/// The lanes at work.
struct Sender {
    lanes: JoinSet<Ended>,
    by_task: HashMap<Id, Lane>,
    shared: LaneContext,
    most: usize,
}

/// Sends until shutdown; then nothing new is begun, and what is marked is finished in time.
pub(super) async fn run(ctx: EngineContext, state: AppState) -> LoopResult {
    let settings = state.settings.engine;
    let (ledger, writer) =
        Ledger::new(state.db.clone(), ctx.doorbells.webhooks.clone(), state.settings.inbox.fresh);
    let mut writers = JoinSet::new();
    writers.spawn(writer.run());
    let mut sender = Sender {
        lanes: JoinSet::new(),
        by_task: HashMap::new(),
        most: settings.concurrency,
        shared: LaneContext {
            process_id: ctx.process.id,
            liveness: ctx.process.liveness.clone(),
            stop: ctx.shutdown.clone(),
            timeouts: Timeouts { final_reply: settings.final_reply, ..Timeouts::default() },
            state,
            ledger,
        },
    };
    // What an earlier run of this loop held in the name of this process is nobody's any more.
    sender.void(Holder::Process(ctx.process.id)).await?;
    while !ctx.shutdown.is_cancelled() {
        sender.fill().await?;
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = ctx.doorbells.sender.wait(ctx.poll) => {}
            Some(ended) = sender.lanes.join_next_with_id(), if !sender.lanes.is_empty() => sender.leave(ended).await?,
        }
    }
    sender.stop(settings.shutdown.saturating_sub(Duration::from_millis(500))).await
}

impl Sender {
    /// Takes as many lanes as there is room for.
    async fn fill(&mut self) -> Result<(), BoxError> {
        let room = self.most.saturating_sub(self.lanes.len());
        let (db, process) = (&self.shared.state.db, self.shared.process_id);
        for lane in lanes::acquire(db, process, room, Timestamp::now()).await? {
            let task = self.lanes.spawn(lane::run(self.shared.clone(), lane));
            self.by_task.insert(task.id(), lane);
        }
        Ok(())
    }

    /// Leaves a lane whose task ended; one that broke down rests, and what it held is voided.
    async fn leave(&mut self, ended: Result<(Id, Ended), JoinError>) -> Result<(), BoxError> {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, ended.map_err(|error| error.to_string())),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some(lane) = self.by_task.remove(&id) else { return Ok(()) };
        let (rest, served) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(lane = %lane.credential_id, error, "lane broke down");
                self.void(Holder::Lane(self.shared.process_id, lane.credential_id)).await?;
                let wait = retry::lane_rest(lane.failures.saturating_add(1), rand::random());
                (Rest::Trouble(Timestamp::now().plus(wait)), false)
            }
        };
        let db = &self.shared.state.db;
        let fresh = self.shared.state.settings.inbox.fresh;
        lanes::release(db, self.shared.process_id, &lane, (&rest, served), fresh).await?;
        Ok(())
    }

    /// Voids until nothing is held, and wakes the campaigns that have work again.
    async fn void(&self, holder: Holder) -> Result<(), BoxError> {
        void_all(&self.shared.state, holder).await?;
        if let Holder::Process(process) = holder {
            SystemScope::in_transaction(&self.shared.state.db, async |system| {
                lanes::free(system, Some(process), Timestamp::now()).await
            })
            .await?;
        }
        Ok(())
    }

    /// Lets lanes finish what is marked; what is not finished in time is uncertain.
    async fn stop(mut self, within: Duration) -> LoopResult {
        let until = tokio::time::Instant::now() + within;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, self.lanes.join_next_with_id()).await {
            self.leave(ended).await?;
        }
        self.lanes.shutdown().await;
        self.void(Holder::Process(self.shared.process_id)).await
    }
}

/// Voids in transactions of bounded size until nothing is left. Returns whether there was anything.
pub(super) async fn void_all(state: &AppState, holder: Holder) -> Result<bool, BoxError> {
    let mut any = false;
    loop {
        let now = Timestamp::now();
        let campaigns = SystemScope::in_transaction(&state.db, async |system| {
            let campaigns = ledger::void(system, holder, now).await?;
            for (_, campaign) in &campaigns {
                lanes::wake(system, *campaign, now).await?;
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

/// Voids what the dead held, frees their lanes, and moves enrollments off lanes that are closed for good.
pub(super) async fn recover(state: &AppState) -> Result<bool, BoxError> {
    let mut any = void_all(state, Holder::Dead).await?;
    let free = async |system: &SystemScope| lanes::free(system, None, Timestamp::now()).await;
    any |= SystemScope::in_transaction(&state.db, free).await? > 0;
    any |= lanes::move_stranded(&state.db, Timestamp::now()).await? > 0;
    Ok(any)
}
