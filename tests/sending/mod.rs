//! The send path from dispatch to the sink, and what the rows say afterwards.

mod moving;
mod health;
mod outcomes;
mod pacing;
mod tls;
