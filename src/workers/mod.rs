//! Background jobs as Loco workers. What a worker does is here; how it is stored, retried and leased is in `jobs`.

mod enroll_import;

use loco_rs::{
    Result,
    app::AppContext,
    bgworker::{BackgroundWorker, Queue},
};

pub use enroll_import::EnrollImport;

/// Registers every worker. Called by `Hooks::connect_workers` and by the engine; registering twice is harmless.
///
/// # Errors
/// What the queue refuses.
pub async fn register(ctx: &AppContext, queue: &Queue) -> Result<()> {
    queue.register(EnrollImport::build(ctx)).await
}
