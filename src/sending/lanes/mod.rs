//! Lanes as rows: which are awake and free, who holds them, and when they are to be looked at again. A lane that has
//! nothing to do has no `wake_at` and costs nothing.

mod leaving;
mod taking;
mod waking;

use uuid::Uuid;

pub(super) use leaving::hold_campaign;
pub use leaving::release;
pub use taking::{Idle, Room, acquire, count_idle, free, look_sql};

use crate::{
    clock::Timestamp,
    models::{smtp_credentials::Tried, states::DisabledReason},
};

/// A credential that this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The credential.
    pub credential_id: Uuid,
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Connections in a row that came to nothing.
    pub failures: i32,
}

/// How a lane is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing could go: until the next thing falls due, or until it is woken.
    UntilDue,
    /// Until then: a message went out and the pause between messages is not over, or the database was away.
    Pause(Timestamp),
    /// The server could not be reached or sent us away: until then, and one failure more.
    Trouble(Timestamp),
    /// The server does not let this sender send.
    Closed {
        /// Why.
        reason: DisabledReason,
        /// The sender that it was asked for.
        tried: Tried,
    },
}
