//! A lane at work: everything that is due at one endpoint, five connections at a time, one for an endpoint that fails.
//!
//! Looking for work, posting and recording go on beside each other. The endpoint is read anew with every look, and
//! what was found is thrown away after a second, so that another address or secret, or a disabled webhook, counts at once.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sea_orm::DbErr;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    attempt::{Attempted, attempt},
    lanes::{self, Due, Endpoint, FAILING, Lane},
    recorder::{Ended, Lease, MOST_PER_ENTRY, RecordError, Recorder},
    schedule::Health,
};
use crate::{
    clock::Timestamp,
    crypto::{OpenError, WebhookSecret},
    db::{self, Db},
    engine::Liveness,
    models::webhooks,
    net::HttpClient,
    state::AppState,
};

/// Connections at a time to one endpoint.
pub const MOST_AT_A_TIME: usize = 5;
/// Deliveries of one look.
const MOST_FOUND: usize = 20;
/// Deliveries that are at work or not recorded yet: what a crash may deliver again.
const MOST_HELD: usize = 50;
/// What was found is believed for so long.
const FRESH: Duration = Duration::from_secs(1);
/// A lane that always has work makes room for others after this.
const TURN: Duration = Duration::from_secs(10);
/// An endpoint that takes longer to answer is slow.
const SLOW: Duration = Duration::from_secs(1);

/// How an endpoint answered at the end of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In time.
    Prompt,
    /// Late, or not at all.
    Slow,
}

impl Pace {
    /// Of an endpoint that took so long.
    pub fn of(duration: Duration) -> Self {
        if duration < SLOW { Self::Prompt } else { Self::Slow }
    }
}

/// What every lane of a process is handed.
#[derive(Clone)]
pub struct LaneContext {
    /// The database.
    pub state: AppState,
    /// Connections.
    pub client: HttpClient,
    /// Where results go.
    pub recorder: Recorder,
    /// Holder of what is taken.
    pub process_id: Uuid,
    /// Whether this process may still act.
    pub liveness: Liveness,
    /// Cancelled when nothing new is to be begun.
    pub stop: CancellationToken,
    /// Looks for work at a time, over all lanes: they share the pool with requests.
    pub looks: Arc<Semaphore>,
    /// How often a busy lane looks for more without a reason.
    pub poll: Duration,
}

/// Why a lane broke down.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// The recorder.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The secret.
    #[error("the webhook's secret does not open: {0}")]
    Secret(#[from] OpenError),
}

/// What a step of a lane brought.
enum Step {
    Found(Result<Option<(Endpoint, Vec<Due>)>, DbErr>),
    Posted(Due, Attempted),
    Recorded(Vec<Uuid>, Result<Health, RecordError>),
    Again,
}

/// The lane between two steps.
struct Work {
    ctx: LaneContext,
    lane: Lane,
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Where to, as of the last look.
    target: Option<Arc<(String, WebhookSecret)>>,
    found: VecDeque<Due>,
    found_at: Instant,
    ended: Vec<Ended>,
    /// At work, or not recorded yet.
    held: BTreeSet<Uuid>,
    posting: usize,
    looking: bool,
    recording: bool,
    waiting: bool,
    /// The last look found nothing.
    dry: bool,
    /// Nothing new is begun.
    over: bool,
    failures: i32,
    pace: Pace,
    turn_ends: Instant,
}

/// Works until nothing is due, or others want their turn. The lane is left at the end; after an error it is still held.
/// Answers how its endpoint did.
///
/// # Errors
/// Whatever kept it from going on; what was delivered and not recorded is delivered again.
pub async fn run(ctx: LaneContext, lane: Lane) -> Result<Pace, LaneError> {
    let recorder = ctx.recorder.clone();
    let now = Instant::now();
    let mut work = Work {
        ctx,
        lane,
        steps: FuturesUnordered::new(),
        target: None,
        found: VecDeque::new(),
        found_at: now,
        ended: Vec::new(),
        held: BTreeSet::new(),
        posting: 0,
        looking: false,
        recording: false,
        waiting: false,
        dry: false,
        over: false,
        failures: lane.failures,
        pace: Pace::Prompt,
        turn_ends: now + TURN,
    };
    while work.begin() {
        let Some(step) = work.steps.next().await else { break };
        work.take(step)?;
    }
    recorder.record(lane.webhook_id, Vec::new(), Lease::Leave).await?;
    Ok(work.pace)
}

impl Work {
    /// Begins whatever may be begun. `false`: nothing is going on any more.
    fn begin(&mut self) -> bool {
        self.over |=
            self.ctx.stop.is_cancelled() || !self.ctx.liveness.is_alive() || Instant::now() >= self.turn_ends;
        if self.over || self.found_at.elapsed() >= FRESH {
            self.found.clear();
        }
        if !self.recording && !self.ended.is_empty() {
            self.begin_record();
        }
        if !self.over {
            while self.posting < self.most_at_a_time() && self.held.len() < MOST_HELD && self.begin_post() {}
            if !self.looking && !self.dry && self.found.is_empty() && self.posting < self.most_at_a_time() {
                self.begin_look();
            }
            if self.dry && self.posting > 0 && !self.waiting {
                self.waiting = true;
                let poll = self.ctx.poll;
                self.steps.push(tokio::time::sleep(poll).map(|()| Step::Again).boxed());
            }
        }
        self.posting > 0 || self.looking || self.recording
    }

    const fn most_at_a_time(&self) -> usize {
        if self.failures >= FAILING { 1 } else { MOST_AT_A_TIME }
    }

    fn begin_look(&mut self) {
        self.looking = true;
        let (ctx, lane, held) = (self.ctx.clone(), self.lane, self.held.clone());
        let most = if self.failures >= FAILING { 1 } else { MOST_FOUND };
        self.steps.push(async move { Step::Found(look(&ctx, &lane, &held, most).await) }.boxed());
    }

    fn begin_post(&mut self) -> bool {
        let Some(target) = self.target.clone() else { return false };
        let Some(due) = self.found.pop_front() else { return false };
        self.posting += 1;
        self.held.insert(due.id);
        let client = self.ctx.client.clone();
        self.steps.push(
            async move {
                let payload = Bytes::from(due.payload.clone());
                let attempted = attempt(&client, &target.0, &target.1, due.id, payload).await;
                Step::Posted(due, attempted)
            }
            .boxed(),
        );
        true
    }

    fn begin_record(&mut self) {
        self.recording = true;
        let rest = self.ended.split_off(self.ended.len().min(MOST_PER_ENTRY));
        let ended = std::mem::replace(&mut self.ended, rest);
        let (recorder, webhook_id) = (self.ctx.recorder.clone(), self.lane.webhook_id);
        self.steps.push(
            async move {
                let ids = ended.iter().map(|it| it.delivery_id).collect();
                Step::Recorded(ids, recorder.record(webhook_id, ended, Lease::Keep).await)
            }
            .boxed(),
        );
    }

    fn take(&mut self, step: Step) -> Result<(), LaneError> {
        match step {
            Step::Found(found) => self.take_found(found?)?,
            Step::Posted(due, attempted) => self.take_posted(&due, attempted),
            Step::Recorded(ids, health) => {
                self.recording = false;
                let health = health?;
                self.over |= health.disabled_at.is_some();
                for id in ids {
                    self.held.remove(&id);
                }
            }
            Step::Again => {
                self.waiting = false;
                self.dry = false;
            }
        }
        Ok(())
    }

    fn take_found(&mut self, found: Option<(Endpoint, Vec<Due>)>) -> Result<(), LaneError> {
        self.looking = false;
        let Some((endpoint, due)) = found else {
            self.over = true;
            return Ok(());
        };
        let Lane { webhook_id, account_id, .. } = self.lane;
        let sealer = &self.ctx.state.sealer;
        let secret = webhooks::open_secret(sealer, account_id, webhook_id, &endpoint.secret)?;
        self.target = Some(Arc::new((endpoint.url, secret)));
        self.found_at = Instant::now();
        // What was begun since the look is known to it no more.
        self.found = due.into_iter().filter(|due| !self.held.contains(&due.id)).collect();
        self.dry = self.found.is_empty();
        Ok(())
    }

    fn take_posted(&mut self, due: &Due, attempted: Attempted) {
        self.posting -= 1;
        self.pace = Pace::of(attempted.duration);
        self.failures = if attempted.succeeded() { 0 } else { self.failures.saturating_add(1) };
        self.ended.push(Ended {
            account_id: self.lane.account_id,
            webhook_id: self.lane.webhook_id,
            delivery_id: due.id,
            tries: due.tries,
            attempts: due.attempts,
            attempted,
            chance: rand::random(),
        });
    }
}

async fn look(
    ctx: &LaneContext,
    lane: &Lane,
    held: &BTreeSet<Uuid>,
    most: usize,
) -> Result<Option<(Endpoint, Vec<Due>)>, DbErr> {
    let _turn = ctx.looks.acquire().await.map_err(|_| DbErr::Custom("the looks are closed".into()))?;
    let db: &Db = &ctx.state.db;
    db::in_time(lanes::due(db, ctx.process_id, lane, held, most, Timestamp::now())).await
}
