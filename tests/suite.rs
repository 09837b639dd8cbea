//! All tests of the application that go through its edges: one binary, a database per test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::large_futures,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks behind the doors"
)]

mod billing;
mod contract;
mod engine;
mod faults;
mod inbox;
mod jobs;
mod mailers;
mod models;
mod requests;
mod sending;
mod support;
mod tasks;
mod tenancy;
mod webhooks;
