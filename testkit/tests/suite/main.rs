//! The test kit's own tests, in one binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child_processes;
mod client;
mod proxy_breaks;
mod sink_behaviours;
mod sink_connections;
mod sink_holds;
