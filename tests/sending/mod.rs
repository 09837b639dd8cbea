//! The send path from dispatch to the sink, and what the rows say afterwards.

mod ahead;
mod health;
mod moving;
mod outcomes;
mod pacing;
mod tls;
mod waiting;
