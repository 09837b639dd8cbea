//! What every loop is handed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    doorbell::{Doorbell, Doorbells},
    process::Process,
};
use crate::db::Db;

/// Handed to every loop at every start; cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineContext {
    /// The application's database.
    pub db: Db,
    /// Cancelled when the loops are to stop: the program ends, or this process was declared dead.
    pub shutdown: CancellationToken,
    /// How often to look for work without being rung.
    pub poll: Duration,
    /// The bells that this process's own requests ring.
    pub doorbells: Doorbells,
    /// Who this process is in `engine_processes`: what it claims is held in this name.
    pub process: Process,
}

impl EngineContext {
    /// Waits for a ring or the next poll. `false`: the loop is to stop.
    pub async fn wait(&self, bell: &Doorbell) -> bool {
        self.wait_at_most(bell, self.poll).await
    }

    /// The same with a length of its own.
    pub async fn wait_at_most(&self, bell: &Doorbell, poll: Duration) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = bell.wait(poll) => {}
        }
        !self.shutdown.is_cancelled()
    }
}
