//! The supervised loops that find due work: what sends, polls, delivers, runs jobs and sweeps.
//!
//! Every loop reconciles: it takes no input, finds due work in its own table by lease, and is woken by a doorbell or a
//! poll. Losing a ring costs time, never work; a second process doubles nothing. This is the only module that spawns
//! tasks of the process's own. What the loops do is not here but in the modules they call.

mod billing;
mod context;
mod doorbell;
mod embedded;
mod errand;
mod flusher;
mod health;
mod inbox;
mod loops;
mod places;
mod process;
mod recovery;
mod sender;
mod supervisor;
mod sweeper;
mod webhooks;

pub use context::EngineContext;
pub use doorbell::{Doorbell, Doorbells};
pub use embedded::{start_embedded, stop_embedded};
pub use errand::see_through;
pub use flusher::{start_flusher, stop_flusher};
pub use loops::run;
pub use process::{Liveness, Process, count_alive, find_dead};
pub use recovery::recover;
pub use supervisor::{BoxError, Loop, LoopResult, RestartWait, Supervisor};
pub use sweeper::{Swept, sweep};
