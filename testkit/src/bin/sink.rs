//! The sink as a program: listens, prints a line for each message, and the counts at the end.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use testkit::sink::{Builder, Identity, Keep, Message, Sink, Tally, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// An SMTP server that takes everything, relays nothing, and misbehaves where the recipient asks for it.
#[derive(Debug, Parser)]
#[command(name = "sink")]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: SocketAddr,
    /// Store each message here as <number>.eml.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Offer TLS in this way.
    #[arg(long, value_enum, default_value_t = TlsMode::None)]
    tls: TlsMode,
    /// Certificate chain in PEM; without it one is made for localhost.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Write the made certificate authority here, in PEM, for clients to trust.
    #[arg(long)]
    ca_out: Option<PathBuf>,
    /// Require AUTH as this user.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password of that user.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Print no line for each message.
    #[arg(long)]
    quiet: bool,
    /// Keep counts only, for benchmarks; implies --quiet.
    #[arg(long, conflicts_with = "dir")]
    tally: bool,
    /// Print the counts this often, in milliseconds.
    #[arg(long)]
    report_every_ms: Option<u64>,
    /// Stop when this many messages were received.
    #[arg(long)]
    expect: Option<u64>,
    /// Stop after this many seconds.
    #[arg(long)]
    for_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TlsMode {
    None,
    Starttls,
    Implicit,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let sink = builder(&arguments)?.start().await?;
    if let (Some(path), Some(pem)) = (&arguments.ca_out, sink.ca_pem()) {
        fs::write(path, pem)?;
    }
    say(format_args!("listening on {}", sink.address()))?;
    let started = Instant::now();
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = ended.recv() => {}
        () = after(arguments.for_seconds.map(Duration::from_secs)) => {}
        () = expected(&sink, arguments.expect) => {}
        result = report(&sink, arguments.report_every_ms, started) => result?,
    }
    say(format_args!("{}", counts(&sink.tally(), started)))
}

fn builder(arguments: &Arguments) -> io::Result<Builder> {
    let mut builder =
        Sink::builder().listen(arguments.listen).keep(keep(arguments)).tls(match arguments.tls {
            TlsMode::None => Tls::None,
            TlsMode::Starttls => Tls::StartTls,
            TlsMode::Implicit => Tls::Implicit,
        });
    if let (Some(chain), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        builder = builder.identity(Identity::from_files(chain, key)?);
    }
    if let (Some(user), Some(password)) = (&arguments.user, &arguments.password) {
        builder = builder.auth(user, password);
    }
    if let Some(dir) = &arguments.dir {
        fs::create_dir_all(dir)?;
    }
    if arguments.tally || (arguments.quiet && arguments.dir.is_none()) {
        return Ok(builder);
    }
    let (dir, quiet) = (arguments.dir.clone(), arguments.quiet);
    Ok(builder.on_message(move |message| {
        let shown = if quiet { Ok(()) } else { say(format_args!("{}", line(message))) };
        let stored = dir.as_deref().map_or(Ok(()), |dir| store(dir, message));
        if let Err(error) = shown.and(stored) {
            // The program goes on: the message is counted, and the sender has no fault in this.
            eprintln!("sink: message {}: {error}", message.id);
        }
    }))
}

/// Bytes are handed to the observer and then dropped: a sink that runs for days must not grow with them.
const fn keep(arguments: &Arguments) -> Keep {
    if arguments.tally || (arguments.quiet && arguments.dir.is_none()) { Keep::Tally } else { Keep::Passing }
}

fn line(message: &Message) -> String {
    let subject = message.subject().unwrap_or_default();
    format!("{} <{}> -> <{}> {subject}", message.id, message.from, message.recipients.join(">, <"))
}

fn store(dir: &Path, message: &Message) -> io::Result<()> {
    fs::write(dir.join(format!("{}.eml", message.id)), &message.raw)
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn expected(sink: &Sink, count: Option<u64>) {
    const NEVER: Duration = Duration::from_hours(24 * 365);
    let Some(count) = count else { return std::future::pending().await };
    while sink.wait_for(count, NEVER).await.is_err() {}
}

/// Prints the counts again and again; returns only when printing fails.
async fn report(sink: &Sink, every_ms: Option<u64>, started: Instant) -> io::Result<()> {
    loop {
        after(every_ms.map(Duration::from_millis)).await;
        say(format_args!("{}", counts(&sink.tally(), started)))?;
    }
}

/// One line of `name=value`, for scripts.
fn counts(tally: &Tally, started: Instant) -> String {
    let Tally { messages, bytes, recipients, pairs, refused, first_at, last_at } = tally;
    let span = first_at.zip(*last_at).map_or(Duration::ZERO, |(first, last)| last - first).as_secs_f64();
    let elapsed = started.elapsed().as_secs_f64();
    format!(
        "messages={messages} recipients={recipients} pairs={pairs} refused={refused} bytes={bytes} \
         first_to_last_seconds={span:.3} elapsed_seconds={elapsed:.3}"
    )
}

fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
