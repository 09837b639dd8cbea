//! Ampout: outbound email for developers and their agents.

pub mod app;
pub mod billing;
pub mod clock;
pub mod config;
pub mod controllers;
pub mod crypto;
pub mod db;
pub mod engine;
pub mod errors;
pub mod http;
pub mod imports;
pub mod inbound;
pub mod inbox;
pub mod initializers;
pub mod jobs;
pub mod logging;
pub mod mailers;
pub mod metrics;
pub mod models;
pub mod net;
pub mod openapi;
pub mod paging;
pub mod params;
pub mod points;
pub mod sending;
pub mod state;
pub mod tasks;
pub mod tenancy;
pub mod views;
pub mod webhooks;
pub mod workers;

// The fuzz targets name this crate as others do.
#[cfg(test)]
extern crate self as ampout;
#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod replay;
