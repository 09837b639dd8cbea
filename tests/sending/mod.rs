//! The send path from dispatch to the sink, and what the rows say afterwards.

mod ahead;
mod beside;
mod claiming;
mod connections;
mod counts;
mod deleted;
mod health;
mod leaving;
mod moving;
mod order;
mod outcomes;
mod pacing;
mod places;
mod settling;
mod tls;
mod turns;
mod voiding;
mod waiting;
mod waking;
