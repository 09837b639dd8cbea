//! A lane at work: everything that is due at one endpoint, five connections at a time, one for an endpoint that fails.
//!
//! Looking for work, posting and recording go on beside each other. The endpoint is read right before every post, so that
//! another address or secret, or a webhook that is disabled or deleted, counts for whatever is begun after it was answered.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sea_orm::DbErr;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
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
    /// Looks at a time, for work and at endpoints, over all lanes: they share the pool with requests.
    pub looks: Arc<Semaphore>,
    /// How often a busy lane looks for more without a reason.
    pub poll: Duration,
}

impl LaneContext {
    /// Whether anything new may be begun.
    fn may_begin(&self) -> bool {
        !self.stop.is_cancelled() && self.liveness.is_alive()
    }

    /// A turn to read, which is over when it is dropped.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, DbErr> {
        self.looks.acquire().await.map_err(|_| DbErr::Custom("the looks are closed".into()))
    }
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

/// Where to, and what is signed with.
struct Target {
    endpoint: Endpoint,
    secret: WebhookSecret,
}

/// What a step of a lane brought.
enum Step {
    Found(Result<Option<Vec<Due>>, DbErr>),
    Posted(Due, Attempted, Arc<Target>),
    /// Not posted: there is no endpoint any more, or it could not be read.
    Kept(Due, Result<(), LaneError>),
    Recorded(Vec<Uuid>, Result<Health, RecordError>),
    Again,
}

/// The lane between two steps.
struct Work {
    ctx: LaneContext,
    lane: Lane,
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Where the last post went whose answer came: its secret is opened.
    target: Option<Arc<Target>>,
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
    /// Why, where it is an error.
    broken: Option<LaneError>,
    failures: i32,
    pace: Pace,
    turn_ends: Instant,
}

/// Works until nothing is due, or others want their turn. The lane is left at the end; after an error it is still held.
/// Answers how its endpoint did.
///
/// # Errors
/// Whatever kept it from going on, once what it had begun is recorded. What cannot be recorded is delivered again.
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
        broken: None,
        failures: lane.failures,
        pace: Pace::Prompt,
        turn_ends: now + TURN,
    };
    while work.begin() {
        let Some(step) = work.steps.next().await else { break };
        work.take(step);
    }
    if let Some(error) = work.broken {
        return Err(error);
    }
    recorder.record(lane.webhook_id, Vec::new(), Lease::Leave).await?;
    Ok(work.pace)
}

impl Work {
    /// Begins whatever may be begun. `false`: nothing is going on any more.
    fn begin(&mut self) -> bool {
        self.over |= !self.ctx.may_begin() || Instant::now() >= self.turn_ends;
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
        let Some(due) = self.found.pop_front() else { return false };
        self.posting += 1;
        self.held.insert(due.id);
        let (ctx, lane, known) = (self.ctx.clone(), self.lane, self.target.clone());
        self.steps.push(async move { post(&ctx, &lane, due, known.as_deref()).await }.boxed());
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

    fn take(&mut self, step: Step) {
        match step {
            Step::Found(found) => {
                self.looking = false;
                match found {
                    Ok(Some(due)) => self.take_found(due),
                    Ok(None) => self.over = true,
                    Err(error) => self.break_down(error.into()),
                }
            }
            Step::Posted(due, attempted, target) => self.take_posted(&due, attempted, target),
            Step::Kept(due, kept) => {
                self.posting -= 1;
                self.held.remove(&due.id);
                match kept {
                    Ok(()) => self.over = true,
                    Err(error) => self.break_down(error),
                }
            }
            Step::Recorded(ids, health) => {
                self.recording = false;
                match health {
                    Ok(health) => self.over |= health.disabled_at.is_some(),
                    Err(error) => self.break_down(error.into()),
                }
                for id in ids {
                    self.held.remove(&id);
                }
            }
            Step::Again => {
                self.waiting = false;
                self.dry = false;
            }
        }
    }

    /// Nothing new is begun. What is being posted comes to its end and is recorded: it would be posted again.
    fn break_down(&mut self, error: LaneError) {
        tracing::warn!(webhook = %self.lane.webhook_id, %error, "a webhook lane begins nothing more");
        self.over = true;
        self.broken.get_or_insert(error);
    }

    fn take_found(&mut self, due: Vec<Due>) {
        self.found_at = Instant::now();
        // What was begun since the look is known to it no more.
        self.found = due.into_iter().filter(|due| !self.held.contains(&due.id)).collect();
        self.dry = self.found.is_empty();
    }

    fn take_posted(&mut self, due: &Due, attempted: Attempted, target: Arc<Target>) {
        self.posting -= 1;
        self.pace = Pace::of(attempted.duration);
        self.failures = if attempted.succeeded() { 0 } else { self.failures.saturating_add(1) };
        self.ended.push(Ended {
            account_id: self.lane.account_id,
            webhook_id: self.lane.webhook_id,
            delivery_id: due.id,
            url: target.endpoint.url.clone(),
            tries: due.tries,
            attempts: due.attempts,
            attempted,
            chance: rand::random(),
        });
        self.target = Some(target);
    }
}

/// Posts a delivery to the endpoint as it is now.
async fn post(ctx: &LaneContext, lane: &Lane, due: Due, known: Option<&Target>) -> Step {
    match target(ctx, lane, known).await {
        Ok(Some(target)) => {
            let (url, payload) = (&target.endpoint.url, Bytes::from(due.payload.clone()));
            let attempted = attempt(&ctx.client, url, &target.secret, due.id, payload).await;
            Step::Posted(due, attempted, target.into())
        }
        kept => Step::Kept(due, kept.map(drop)),
    }
}

/// Where a post goes that begins now. A secret that is known is not opened again.
async fn target(ctx: &LaneContext, lane: &Lane, known: Option<&Target>) -> Result<Option<Target>, LaneError> {
    let turn = ctx.turn().await?;
    let endpoint = db::in_time(lanes::endpoint(&ctx.state.db, ctx.process_id, lane)).await?;
    drop(turn);
    let Some(endpoint) = endpoint.filter(|_| ctx.may_begin()) else { return Ok(None) };
    let secret = match known.filter(|known| known.endpoint.secret == endpoint.secret) {
        Some(known) => known.secret.clone(),
        None => webhooks::open_secret(&ctx.state.sealer, lane.account_id, lane.webhook_id, &endpoint.secret)?,
    };
    Ok(Some(Target { endpoint, secret }))
}

async fn look(
    ctx: &LaneContext,
    lane: &Lane,
    held: &BTreeSet<Uuid>,
    most: usize,
) -> Result<Option<Vec<Due>>, DbErr> {
    let _turn = ctx.turn().await?;
    let db: &Db = &ctx.state.db;
    db::in_time(lanes::due(db, ctx.process_id, lane, held, most, Timestamp::now())).await
}
