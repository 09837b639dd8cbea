//! A walk-through that needs nothing: starts a mail server that delivers nothing and the application on a new database,
//! sends a campaign of two steps to fifty people, shows what arrived, and ends. Exit code 0: all of it arrived, once.

mod campaign;
mod report;
mod server;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testkit::{api::Error, sink::Sink};
use tokio::time::timeout;

use server::Server;

/// The whole walk takes some seconds; past this something is wrong.
const DEADLINE: Duration = Duration::from_secs(28);

#[tokio::main]
async fn main() -> ExitCode {
    match walk().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn walk() -> Result<(), Error> {
    let started = Instant::now();
    // Kept after the end, to look into.
    let dir = TempDir::with_prefix("ampout-demo-")?.keep();
    let mails = dir.join("mails");
    fs::create_dir(&mails)?;
    let sink = keep_mails(&mails).await?;
    say(&format!("A mail server listens on {} and delivers nothing.", sink.address()))?;
    let server = Server::start(&dir).await?;
    say(&format!("ampout listens on {}, with its database and engine in {}.", server.url, dir.display()))?;
    let ran = timeout(DEADLINE, campaign::run(&server.url, &sink)).await;
    server.stop().await;
    let standing = ran.map_err(|_| format!("not done after {} seconds", DEADLINE.as_secs()))??;
    report::show(&sink, &standing, &mails, started.elapsed())
}

/// A sink that stores each mail as it came.
async fn keep_mails(dir: &Path) -> io::Result<Sink> {
    let dir = dir.to_owned();
    let builder = Sink::builder().on_message(move |message| {
        let path = dir.join(format!("{:03}.eml", message.id));
        if let Err(error) = fs::write(&path, &message.raw) {
            eprintln!("demo: {}: {error}", path.display());
        }
    });
    builder.start().await
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
