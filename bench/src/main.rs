//! How fast campaigns go out: messages per second from dispatch to the last final dot, into a sink in this process that
//! only counts; and what that costs the application, which runs as a child. It also counts what was lost or doubled.
//!
//!     cargo build --release && cargo run --release -p bench -- --messages 20000 --lanes 10
//!     cargo run --release -p bench -- webhooks --deliveries 20000 --endpoints 1

mod campaign;
mod database;
mod process;
mod webhooks;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::{Parser, Subcommand};
use testkit::{
    api::{Api, Error},
    child::{Child, free_port},
    sink::{Keep, Sink},
};

use process::Usage;

/// Sends a campaign into a sink and says how fast it went.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// How many contacts get one message each.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// How many mailboxes send at a time.
    #[arg(long, default_value_t = 10)]
    lanes: u16,
    /// A PostgreSQL server on which a database of its own is made; without it a new SQLite file.
    #[arg(long)]
    database_url: Option<String>,
    /// The application; without it, the release build of this workspace.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The longest that sending may take, in seconds.
    #[arg(long, default_value_t = 600)]
    within_seconds: u64,
    /// Something else than a campaign.
    #[command(subcommand)]
    what: Option<What>,
}

/// What is measured instead of a campaign.
#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Deliveries of webhooks to a local receiver.
    Webhooks(webhooks::Arguments),
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    let sink = Sink::builder().keep(Keep::Tally).start().await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let binary = arguments.binary.clone().unwrap_or_else(|| root.join("target/release/ampout"));
    let builder = Child::builder(std::path::absolute(&binary)?)?;
    let database = database::create(arguments.database_url.as_deref(), &builder.path("bench.sqlite")).await?;
    let port = free_port()?;
    let mut child = builder
        .arg("start")
        .env("LOCO_CONFIG_FOLDER", std::path::absolute(root.join("config"))?)
        .env("DATABASE_URL", &database.url)
        .env("MASTER_KEY", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))
        .env("PORT", port.to_string())
        .env("LOG_LEVEL", "warn")
        .env("RATE_LIMIT_PER_MINUTE", "1000000000")
        .env("ENGINE_CONCURRENCY", arguments.lanes.to_string())
        .start()?;
    let ran = measure(&arguments, &sink, &mut child, port, &database).await;
    child.terminate()?;
    child.wait(Duration::from_secs(60)).await?;
    database.remove().await?;
    ran
}

async fn measure(
    arguments: &Arguments,
    sink: &Sink,
    child: &mut Child,
    port: u16,
    database: &database::Database,
) -> Result<(), Error> {
    child.wait_for_port(SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(60)).await?;
    database.lift_limits().await?;
    let api = Api::new(&format!("http://127.0.0.1:{port}"))?;
    let within = Duration::from_secs(arguments.within_seconds);
    if let Some(What::Webhooks(webhooks)) = arguments.what {
        return webhooks::measure(webhooks, api, child.id(), database, within).await;
    }
    let prepared = campaign::prepare(api, arguments.messages, arguments.lanes, sink.port()).await?;
    let (before, started) = (Usage::of(child.id())?, Instant::now());
    prepared.dispatch().await?;
    // What is missing then is counted as lost.
    let came = sink.wait_for(arguments.messages, within).await;
    let after = Usage::of(child.id())?;
    prepared.wait_until_completed(within).await?;
    if let Err(error) = came {
        say(&format!("not all came: {error}"))?;
    }
    report(arguments, sink, database.kind(), started, after.since(&before))
}

fn report(
    arguments: &Arguments,
    sink: &Sink,
    kind: &str,
    started: Instant,
    used: Usage,
) -> Result<(), Error> {
    let tally = sink.tally();
    let last = tally.last_at.ok_or("nothing came")?;
    let seconds = (last - started).as_secs_f64();
    let messages = f64::from(u32::try_from(tally.messages)?);
    say(&format!("database={kind} lanes={} messages={}", arguments.lanes, tally.messages))?;
    say(&format!("seconds={seconds:.2} messages_per_second={:.0}", messages / seconds))?;
    say(&format!(
        "cpu_ms_per_message={:.3} peak_rss_mib={}",
        used.cpu.as_secs_f64() * 1000.0 / messages,
        used.peak_kib / 1024
    ))?;
    let missing = arguments.messages.saturating_sub(tally.recipients);
    let doubled = tally.messages - tally.recipients;
    say(&format!("lost={missing} doubled={doubled}"))?;
    if missing + doubled > 0 { Err("not every contact got one message".into()) } else { Ok(()) }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
