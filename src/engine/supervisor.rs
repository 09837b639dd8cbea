//! Keeps loops running: one that panics, fails or ends is logged and started again after a wait; all stop together
//! within a given time. It knows nothing of what they do.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::EngineContext;

/// Why a loop gave up: anything, since it is logged and nothing else.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a loop ends. It ends by itself only when told to; any other end is followed by a restart.
pub type LoopResult = Result<(), BoxError>;

/// A loop: its name in the log, and how to start it.
pub struct Loop {
    name: &'static str,
    start: Box<dyn Fn(EngineContext) -> BoxFuture<'static, LoopResult> + Send + Sync>,
}

impl Loop {
    /// Names a loop. `start` is called again at every restart.
    pub fn new<F, Work>(name: &'static str, start: F) -> Self
    where
        F: Fn(EngineContext) -> Work + Send + Sync + 'static,
        Work: Future<Output = LoopResult> + Send + 'static,
    {
        Self { name, start: Box::new(move |ctx| start(ctx).boxed()) }
    }
}

/// How long to wait before a restart: `first`, doubled at every failure up to `longest`, back to `first` for a loop
/// that had run for `healthy_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartWait {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A loop that ran this long counts as healthy.
    pub healthy_after: Duration,
}

impl Default for RestartWait {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            healthy_after: Duration::from_secs(300),
        }
    }
}

impl RestartWait {
    /// The wait after a run of length `ran`, when the wait before that run was `last` (`None`: it was the first).
    pub fn next(&self, last: Option<Duration>, ran: Duration) -> Duration {
        match last {
            Some(last) if ran < self.healthy_after => last.saturating_mul(2).min(self.longest),
            _ => self.first,
        }
    }
}

/// The loops of one process.
pub struct Supervisor {
    ctx: EngineContext,
    restart: RestartWait,
    running: JoinSet<()>,
}

impl Supervisor {
    /// A supervisor that hands `ctx` to its loops.
    pub fn new(ctx: EngineContext, restart: RestartWait) -> Self {
        Self { ctx, restart, running: JoinSet::new() }
    }

    /// Starts a loop.
    pub fn start(&mut self, work: Loop) {
        let (ctx, restart) = (self.ctx.clone(), self.restart);
        let shutdown = ctx.shutdown.clone();
        self.running.spawn(async move {
            keep_running(work.name, &shutdown, restart, || (work.start)(ctx.clone())).await;
        });
    }

    /// Waits until the context's token is cancelled, then for the loops to end, at most `within`; what still runs is
    /// aborted. `true`: all ended by themselves.
    pub async fn run(mut self, within: Duration) -> bool {
        self.ctx.shutdown.cancelled().await;
        let all_ended = async { while self.running.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(within, all_ended).await.is_ok();
        if !in_time {
            tracing::warn!(left = self.running.len(), "loops did not stop in time and are aborted");
            self.running.shutdown().await;
        }
        in_time
    }
}

/// Runs a loop again and again until shutdown.
pub(super) async fn keep_running(
    name: &'static str,
    shutdown: &CancellationToken,
    restart: RestartWait,
    start: impl Fn() -> BoxFuture<'static, LoopResult> + Send + Sync,
) {
    let mut wait = None;
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let run = async { start().await };
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        if shutdown.is_cancelled() {
            log_end(name, ended);
            return;
        }
        let next = restart.next(wait, started.elapsed());
        log_end(name, ended);
        tracing::warn!(name, wait_ms = next.as_millis(), "engine loop starts again after a wait");
        wait = Some(next);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

fn log_end(name: &str, ended: std::thread::Result<LoopResult>) {
    match ended {
        Ok(Ok(())) => tracing::debug!(name, "engine loop ended"),
        Ok(Err(error)) => tracing::error!(name, %error, "engine loop failed"),
        Err(panic) => tracing::error!(name, panic = panic_text(&*panic), "engine loop panicked"),
    }
}

/// What a panic said, when it said it in text.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
