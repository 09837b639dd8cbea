//! The engine inside a server process: started by the initializer, stopped by the application's shutdown hook.

use std::sync::Arc;

use loco_rs::{Result, app::AppContext};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::loops::Born;
use crate::config::EngineSettings;

/// The running engine of this process, kept in the application's shared store.
#[derive(Clone)]
struct Embedded {
    stop: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Starts the engine beside the server, once its process is written down. A second call for the same application does
/// nothing.
///
/// # Errors
/// Those of its start: a server that was told to send must not serve without.
#[expect(clippy::disallowed_methods, reason = "the engine is where this process's own tasks are spawned")]
pub async fn start_embedded(app: &AppContext, settings: EngineSettings) -> Result<()> {
    if app.shared_store.contains::<Embedded>() {
        return Ok(());
    }
    let stop = CancellationToken::new();
    let engine = Born::new(app.clone(), settings, stop.clone()).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = engine.live().await {
            tracing::error!(%error, "engine ended before it began anew");
        }
    });
    app.shared_store.insert(Embedded { stop, task: Arc::new(Mutex::new(Some(task))) });
    Ok(())
}

/// Stops the engine that [`start_embedded`] started, and waits for it; nothing if there is none.
/// Call it from `Hooks::on_shutdown`.
pub async fn stop_embedded(app: &AppContext) {
    let Some(embedded) = app.shared_store.get::<Embedded>() else { return };
    embedded.stop.cancel();
    let task = embedded.task.lock().take();
    if let Some(task) = task
        && let Err(error) = task.await
    {
        tracing::error!(%error, "engine ended badly");
    }
}
