//! The list of the loops, and the lives of a process: registered, running until told to stop or declared dead, then
//! registered anew.

use std::{sync::Arc, time::Duration};

use loco_rs::{Error, Result, app::AppContext};
use tokio_util::sync::CancellationToken;

use super::{
    billing,
    context::EngineContext,
    doorbell::Doorbells,
    health, inbox,
    process::Process,
    recovery, sender,
    supervisor::{Loop, RestartWait, Supervisor},
    sweeper, webhooks,
};
use crate::{config::EngineSettings, db, jobs::DbQueue, state::AppState, workers};

/// How long a renewal that is under way may take at the end.
const HEART_STOPS_WITHIN: Duration = Duration::from_secs(1);
/// How long a process that begins anew waits for its row, before it tries again or stops.
const BORN_WITHIN: Duration = Duration::from_secs(5);

/// Runs the engine until `stop` is cancelled and the loops have ended, at most `settings.shutdown` later.
///
/// # Errors
/// When the queue is not installed, a worker cannot be registered, or the process cannot be written down: at the start, or
/// anew while it stops.
pub async fn run(app: AppContext, settings: EngineSettings, stop: CancellationToken) -> Result<()> {
    Born::new(app, settings, stop).await?.live().await
}

/// An engine whose process is written down, and whose loops are not started yet.
pub(super) struct Born {
    app: AppContext,
    settings: EngineSettings,
    stop: CancellationToken,
    jobs: Arc<DbQueue>,
    state: AppState,
    ctx: EngineContext,
}

impl Born {
    /// Registers the workers, and this process.
    ///
    /// # Errors
    /// When the queue is not installed, a worker cannot be registered, or the process cannot be written down.
    pub(super) async fn new(
        app: AppContext,
        settings: EngineSettings,
        stop: CancellationToken,
    ) -> Result<Self> {
        let jobs = DbQueue::of(&app).ok_or(Error::QueueProviderMissing)?;
        let queue = app.queue_provider.as_ref().ok_or(Error::QueueProviderMissing)?;
        workers::register(&app, queue).await?;
        let state = AppState::prepare(&app).await?;
        let ctx = db::in_time(new_life(&app, settings, &stop)).await?;
        Ok(Self { app, settings, stop, jobs, state, ctx })
    }

    /// Lives until the stop, life after life.
    ///
    /// # Errors
    /// When the process cannot be written down anew while it stops.
    pub(super) async fn live(self) -> Result<()> {
        let Self { app, settings, stop, jobs, state, mut ctx } = self;
        loop {
            let heart = start_heart(&ctx);
            let mut supervisor = Supervisor::new(ctx.clone(), RestartWait::default());
            for work in loops(&jobs, &state) {
                supervisor.start(work);
            }
            tracing::info!(process = %ctx.process.id, "engine started");
            supervisor.run(settings.shutdown).await;
            heart.stop().await;
            match tokio::time::timeout(HEART_STOPS_WITHIN, ctx.process.resign(&ctx.db)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(process = %ctx.process.id, %error, "engine could not say that it stopped");
                }
                Err(_) => {
                    tracing::warn!(process = %ctx.process.id, "engine could not say in time that it stopped");
                }
            }
            if stop.is_cancelled() {
                tracing::info!(process = %ctx.process.id, "engine stopped");
                return Ok(());
            }
            ctx = reborn(&app, settings, &stop).await?;
        }
    }
}

/// The heartbeat, which goes on while the other loops stop: what is being sent is finished alive.
struct Heart {
    supervisor: Supervisor,
    stop: CancellationToken,
}

/// Starts the heartbeat of one life.
fn start_heart(ctx: &EngineContext) -> Heart {
    let (stop, life) = (CancellationToken::new(), ctx.shutdown.clone());
    let ctx = EngineContext { shutdown: stop.clone(), ..ctx.clone() };
    let mut supervisor = Supervisor::new(ctx, RestartWait::default());
    supervisor.start(Loop::new("heartbeat", move |ctx| {
        let life = life.clone();
        async move {
            ctx.process.keep_alive(&ctx.db, &life, &ctx.shutdown).await;
            Ok(())
        }
    }));
    Heart { supervisor, stop }
}

impl Heart {
    async fn stop(self) {
        self.stop.cancel();
        self.supervisor.run(HEART_STOPS_WITHIN).await;
    }
}

/// Every loop of the engine but the heartbeat, which [`start_heart`] keeps apart. A new one is added here and nowhere else.
fn loops(jobs: &Arc<DbQueue>, state: &AppState) -> Vec<Loop> {
    let jobs = Arc::clone(jobs);
    let (sends, recovers, tells, reads) = (state.clone(), state.clone(), state.clone(), state.clone());
    let (watches, bills, compares) = (state.clone(), state.clone(), state.clone());
    vec![
        Loop::new("jobs", move |ctx| {
            let jobs = Arc::clone(&jobs);
            async move {
                jobs.run_until(ctx.db, ctx.shutdown).await;
                Ok(())
            }
        }),
        Loop::new("sender", move |ctx| sender::run(ctx, sends.clone())),
        Loop::new("inbox", move |ctx| inbox::run(ctx, reads.clone())),
        Loop::new("recovery", move |ctx| recovery::run(ctx, recovers.clone())),
        Loop::new("webhooks", move |ctx| webhooks::run(ctx, tells.clone())),
        Loop::new("notices", move |ctx| billing::tell(ctx, bills.clone())),
        Loop::new("reconcile", move |ctx| billing::reconcile(ctx, compares.clone())),
        Loop::new("health", move |ctx| health::run(ctx, watches.clone())),
        Loop::new("sweeper", sweeper::run),
    ]
}

/// Registers this process and makes what its loops are handed.
async fn new_life(
    app: &AppContext,
    settings: EngineSettings,
    stop: &CancellationToken,
) -> Result<EngineContext> {
    let db = AppState::prepare(app).await?.db;
    let process = Process::register(&db, &process_name(), settings.dead_after).await?;
    Ok(EngineContext {
        db,
        shutdown: stop.child_token(),
        poll: settings.poll,
        doorbells: Doorbells::of(app),
        process,
    })
}

/// The same after a death: the database was out of reach for a while, so it is waited for.
async fn reborn(
    app: &AppContext,
    settings: EngineSettings,
    stop: &CancellationToken,
) -> Result<EngineContext> {
    loop {
        match tokio::time::timeout(BORN_WITHIN, new_life(app, settings, stop)).await {
            Ok(Ok(ctx)) => return Ok(ctx),
            Ok(Err(error)) if stop.is_cancelled() => return Err(error),
            Ok(Err(error)) => tracing::error!(%error, "engine process not registered"),
            Err(_) if stop.is_cancelled() => {
                return Err(Error::string("stopped before it was registered anew"));
            }
            // A row that is written late falls silent, and is declared dead.
            Err(_) => tracing::error!("engine process not registered in time"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// The host's name, where it is known, and the process's number.
fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}:{}", if host.is_empty() { "host" } else { host }, std::process::id())
}
