//! Outbound webhooks: what happens to an account's campaigns is told to its endpoints, signed, at least once.
//!
//!     event ─► models::webhooks::outbox ─► webhook_deliveries ─► lane (one per endpoint) ─► attempt ─► recorder
//!
//! An event is a row, written in the transaction that caused it. An endpoint with rows that are due is a lane, held by
//! one process at a time: that bounds its connections over all processes, and needs no claim per row. Results of all
//! lanes are committed together. The lanes are run by `engine`; see `docs/adr/` for why it is so.

pub mod attempt;
pub mod lane;
pub mod lanes;
pub mod recorder;
pub mod schedule;
pub mod trial;
