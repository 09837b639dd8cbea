//! A ring that wakes a loop before its next poll. It carries nothing and promises nothing: the work is in the table,
//! and a ring that is lost (another process, a crash) costs the length of a poll.

use std::{sync::Arc, time::Duration};

use loco_rs::app::AppContext;
use tokio::sync::Notify;

/// One loop's doorbell. Clones ring the same bell.
#[derive(Clone, Debug, Default)]
pub struct Doorbell(Arc<Notify>);

impl Doorbell {
    /// Wakes the loop. One that is busy comes round once more; ringing many times is ringing once.
    /// Ring after the commit, or the loop looks too early.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Until the bell rings (or rang since the last wait), at most `poll`.
    pub async fn wait(&self, poll: Duration) {
        tokio::select! {
            () = self.0.notified() => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

/// The doorbells of one process, by what they announce.
#[derive(Clone, Debug, Default)]
pub struct Doorbells {
    /// A background job was stored.
    pub jobs: Doorbell,
    /// A lane has something to send: a dispatch, a resume, a resend.
    pub sender: Doorbell,
    /// Something large was deleted.
    pub sweeper: Doorbell,
    /// A webhook has something to be told.
    pub webhooks: Doorbell,
}

impl Doorbells {
    /// The doorbells of this application, made at the first call (at boot).
    pub fn of(ctx: &AppContext) -> Self {
        ctx.shared_store.get::<Self>().unwrap_or_else(|| {
            let bells = Self::default();
            ctx.shared_store.insert(bells.clone());
            bells
        })
    }
}
