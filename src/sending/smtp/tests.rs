//! The conversation with a server, seen from both ends: a scripted server for what a real one would not do on
//! request, the testkit's sink for what it would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod breaking;
mod chunks;
mod opening;
mod script;
mod sending;
mod sink;
