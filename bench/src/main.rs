//! The benchmarks: each starts the application as a child, on a database of its own, and measures it from the outside.
//!
//!     cargo build --release && cargo run --release -p bench -- campaign --messages 20000 --lanes 10
//!     cargo run --release -p bench -- webhooks --deliveries 20000 --endpoints 1
//!     cargo run --release -p bench -- import --rows 1000000
//!     cargo run --release -p bench -- enroll --contacts 1000000
//!     cargo run --release -p bench -- requests --rows 1000000
//!
//! How to run them, and what is asked for: docs/BENCHMARKS.md.

mod app;
mod campaign;
mod database;
mod enroll;
mod import;
mod people;
mod process;
mod requests;
mod webhooks;

use std::io::{self, Write};

use clap::{Parser, Subcommand};
use testkit::api::Error;

use app::App;

/// Measures the application.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    app: app::Arguments,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Messages of a campaign into a sink.
    Campaign(campaign::Arguments),
    /// Deliveries of webhooks to a local receiver.
    Webhooks(webhooks::Arguments),
    /// A table of contacts, uploaded and imported.
    Import(import::Arguments),
    /// An import enrolled in a campaign and dispatched.
    Enroll(enroll::Arguments),
    /// Requests to the API.
    Requests(requests::Arguments),
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    let lanes = if let What::Campaign(campaign) = &arguments.what { campaign.lanes } else { 10 };
    let app = App::start(&arguments.app, lanes).await?;
    let ran = match arguments.what {
        What::Campaign(campaign) => campaign::measure(campaign, &app).await,
        What::Webhooks(webhooks) => webhooks::measure(webhooks, &app).await,
        What::Import(import) => import::measure(import, &app).await,
        What::Enroll(enroll) => enroll::measure(enroll, &app).await,
        What::Requests(requests) => requests::measure(requests, &app).await,
    };
    app.stop().await?;
    ran
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
