//! Memory that is resident while very many messages go out: looked at twice a second, shown after a tenth, a half and all of
//! them.

use std::time::{Duration, Instant};

use clap::Args;
use testkit::api::Error;
use tokio::time::interval;

use crate::{app::App, campaign, mail, process, say};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is sent meanwhile.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// How many contacts get one message each.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How many mailboxes send at a time.
    #[arg(long, default_value_t = 10)]
    pub lanes: u16,
}

/// Sends and looks.
///
/// # Errors
/// A call that failed, or not all came.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let Arguments { messages, lanes } = arguments;
    let sink = mail::server().await?;
    let prepared = campaign::prepare(app.api()?, messages, lanes, sink.port()).await?;
    let before = process::resident_kib(app.pid())?;
    let begun = Instant::now();
    prepared.dispatch().await?;
    let (mut looks, mut pace) = (vec![(0, before)], interval(LOOK));
    while sink.count() < messages {
        pace.tick().await;
        looks.push((sink.count(), process::resident_kib(app.pid())?));
        if begun.elapsed() > app.within {
            return Err(format!("{} of {messages} came within {:?}", sink.count(), app.within).into());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let at = |count: u64| looks.iter().find(|(sent, _)| *sent >= count).map_or(0, |(_, kib)| kib / 1024);
    let peak = looks.iter().map(|(_, kib)| kib / 1024).max().unwrap_or_default();
    let rate = f64::from(u32::try_from(messages)?) / seconds;
    say(&format!("database={} lanes={lanes} messages={messages}", app.database.kind()))?;
    say(&format!("seconds={seconds:.1} messages_per_second={rate:.0}"))?;
    let (tenth, half, all) = (at(messages / 10), at(messages / 2), at(messages));
    say(&format!(
        "peak_rss_mib={peak} before_rss_mib={} tenth_rss_mib={tenth} half_rss_mib={half} end_rss_mib={all}",
        before / 1024
    ))?;
    Ok(())
}
