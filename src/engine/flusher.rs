//! The loop of a serving process that stores each second what its requests counted. It is no part of the engine's
//! lives: it runs where nothing is sent, and stops after the last answer was given.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use loco_rs::app::AppContext;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::supervisor::{LoopResult, RestartWait, keep_running};
use crate::{clock::Timestamp, state::AppState};

const EVERY: Duration = Duration::from_secs(1);
/// How long the last flush may take: a database that is away does not keep a process from ending.
const LAST_WITHIN: Duration = Duration::from_secs(5);

/// The running flusher of this process, kept in the application's shared store.
#[derive(Clone)]
struct Flusher {
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Starts the flusher. A second call for the same application does nothing.
#[expect(clippy::disallowed_methods, reason = "the engine is where this process's own tasks are spawned")]
pub fn start_flusher(app: &AppContext, state: AppState) {
    if app.shared_store.contains::<Flusher>() {
        return;
    }
    let stop = CancellationToken::new();
    let shutdown = stop.clone();
    let task = tokio::spawn(async move {
        let start = || flush_until(state.clone(), shutdown.clone()).boxed();
        keep_running("usage", &shutdown, RestartWait::default(), start).await;
    });
    app.shared_store.insert(Flusher { stop, task: Arc::new(Mutex::new(Some(task))) });
}

/// Stops the flusher and stores what is left; nothing where none runs. Call it when no request is under way any more.
pub async fn stop_flusher(app: &AppContext) {
    let Some(flusher) = app.shared_store.get::<Flusher>() else { return };
    flusher.stop.cancel();
    let task = flusher.task.lock().take();
    if let Some(mut task) = task {
        match tokio::time::timeout(LAST_WITHIN, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the flusher of usage ended badly"),
            // Not cut off: what it is storing may land yet.
            Err(_) => {
                tracing::error!("usage is still being stored; what the database does not answer for is lost");
            }
        }
    }
    let Ok(state) = AppState::of(app) else { return };
    match tokio::time::timeout(LAST_WITHIN, state.usage.flush(&state.db, Timestamp::now())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(cause = ?error.cause_chain(), "the last usage was not stored"),
        Err(_) => tracing::error!("the last usage was not stored in time"),
    }
}

/// A flush that fails keeps what it had, and the next one tries again.
async fn flush_until(state: AppState, shutdown: CancellationToken) -> LoopResult {
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        let flushed = state.usage.flush(&state.db, Timestamp::now()).await;
        match (&flushed, failing) {
            (Err(error), false) => {
                tracing::error!(cause = ?error.cause_chain(), "usage is not stored; it is kept and tried again");
            }
            (Ok(()), true) => tracing::info!("usage is stored again"),
            (Ok(()), false) | (Err(_), true) => {}
        }
        failing = flushed.is_err();
    }
}
