//! The benchmarks: each starts the application as a child, on a database of its own, and measures it from the outside.
//!
//!     cargo build --release -p ampout -p bench
//!     target/release/bench campaign --messages 20000 --lanes 10
//!     target/release/bench --postgres campaign
//!     target/release/bench all
//!
//! What there is, how to run it, and what is asked for: docs/BENCHMARKS.md.

mod all;
mod app;
mod campaign;
mod ceiling;
mod chaos;
mod database;
mod descriptors;
mod enroll;
mod fill;
mod flat;
mod growth;
mod import;
mod invariants;
mod kill;
mod limits;
mod list;
mod mail;
mod memory;
mod people;
mod process;
mod requests;
mod rounds;
mod soak;
mod spread;
mod table;
mod versions;
mod waiting;
mod wal;
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
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Messages of a campaign into a sink.
    Campaign(campaign::Arguments),
    /// The same beside smtp-source into the same sink.
    Ceiling(campaign::Arguments),
    /// kill -9 in the middle of a campaign: what is lost and doubled.
    Kill(kill::Arguments),
    /// Memory while very many messages go out.
    Memory(memory::Arguments),
    /// What it costs that much was sent before.
    Growth(growth::Arguments),
    /// Limits of plan and mailbox with two processes.
    Limits,
    /// Deliveries of webhooks to a local receiver.
    Webhooks(webhooks::Arguments),
    /// A table of contacts, uploaded and imported.
    Import(import::Arguments),
    /// A list of contacts in one request, and what another account notices of it.
    List(list::Arguments),
    /// An import enrolled in a campaign and dispatched.
    Enroll(enroll::Arguments),
    /// Requests to the API.
    Requests(requests::Arguments),
    /// Sends under faults, kills and restarts for a while, and then looks whether all that must hold held.
    Soak(soak::Arguments),
    /// All of it on both databases, as a table.
    All(all::Arguments),
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    if let What::All(all) = &arguments.what {
        return all::measure(all, &arguments.app).await;
    }
    let mut app = start(&arguments).await?;
    let ran = measure(arguments.what, &mut app).await;
    // What was measured has the first word.
    ran.and(app.stop().await)
}

async fn start(arguments: &Arguments) -> Result<App, Error> {
    let connections = match &arguments.what {
        What::Campaign(campaign) | What::Ceiling(campaign) => campaign.connections,
        What::Growth(_) => growth::CONNECTIONS,
        What::Kill(_)
        | What::Memory(_)
        | What::Limits
        | What::Webhooks(_)
        | What::Import(_)
        | What::List(_)
        | What::Enroll(_)
        | What::Requests(_)
        | What::Soak(_)
        | What::All(_) => campaign::CONNECTIONS,
    };
    let (lanes, more): (u16, &[(&str, &str)]) = match &arguments.what {
        What::Campaign(campaign) | What::Ceiling(campaign) => (campaign.lanes, &[]),
        What::Memory(memory) => (memory.lanes, &[]),
        What::Kill(kill) => (kill.lanes, &kill::VARIABLES),
        What::Limits => (limits::LANES_EACH, &limits::VARIABLES),
        What::Soak(_) => (soak::LANES, &soak::VARIABLES),
        What::Webhooks(_)
        | What::Import(_)
        | What::List(_)
        | What::Enroll(_)
        | What::Requests(_)
        | What::Growth(_)
        | What::All(_) => (10, &[]),
    };
    let (lanes, connections) = (lanes.to_string(), connections.to_string());
    let mut variables =
        vec![("ENGINE_CONCURRENCY", lanes.as_str()), ("ENGINE_CONNECTIONS", connections.as_str())];
    variables.extend(more);
    App::start(&arguments.app, &variables).await
}

async fn measure(what: What, app: &mut App) -> Result<(), Error> {
    match what {
        What::Campaign(campaign) => campaign::measure(campaign, app).await,
        What::Ceiling(campaign) => ceiling::measure(campaign, app).await,
        What::Kill(kill) => kill::measure(kill, app).await,
        What::Memory(memory) => memory::measure(memory, app).await,
        What::Growth(growth) => growth::measure(growth, app).await,
        What::Limits => limits::measure(app).await,
        What::Webhooks(webhooks) => webhooks::measure(webhooks, app).await,
        What::Import(import) => import::measure(import, app).await,
        What::List(list) => list::measure(list, app).await,
        What::Enroll(enroll) => enroll::measure(enroll, app).await,
        What::Requests(requests) => requests::measure(requests, app).await,
        What::Soak(soak) => soak::measure(soak, app).await,
        What::All(_) => Ok(()),
    }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
