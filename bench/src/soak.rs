//! A long run under everything at once: one recipient of twenty makes the mail server misbehave, the application is killed
//! every one to three minutes, the database's server restarted (with `--postgres`), campaigns are paused and people
//! unsubscribe. Then all comes to rest, and what must hold is looked for at the sink and in the rows.
//!
//! A second process sends beside it and is never killed: what grows with time grows in it.

use std::time::{Duration, Instant};

use clap::Args;
use testkit::{api::Error, receiver::Receiver};

use crate::{
    app::App,
    chaos::{self, Chaos},
    flat, invariants,
    rounds::{self, Witness},
    say,
};

/// Lanes at work at a time in each of the two processes: those of one campaign.
pub const LANES: u16 = 10;
/// Nobody waits for the usual ten minutes of a silent server, nor for the usual 30 seconds of a silent process.
pub const VARIABLES: [(&str, &str); 2] =
    [("SMTP_FINAL_REPLY_SECONDS", "5"), ("ENGINE_DEAD_AFTER_SECONDS", "3")];

/// For how long, and how much.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// For so many minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// People of each campaign.
    #[arg(long, default_value_t = 2_000)]
    people: u64,
    /// A campaign begins every so many seconds, while another is still at work.
    #[arg(long, default_value_t = 30)]
    round_seconds: u64,
    /// The least time between two blows, in seconds.
    #[arg(long, default_value_t = 60)]
    least_gap: u64,
    /// The most.
    #[arg(long, default_value_t = 180)]
    most_gap: u64,
}

/// Runs for that long, and looks.
///
/// # Errors
/// Whatever did not hold.
pub async fn measure(arguments: Arguments, app: &mut App) -> Result<(), Error> {
    let until = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let witness = Witness::default();
    let sink = witness.sink().await?;
    let receiver = Receiver::start_counting().await?;
    let load = rounds::Load {
        base: app.base.clone(),
        port: sink.port(),
        webhook: receiver.url("/"),
        people: arguments.people,
        pace: Duration::from_secs(arguments.round_seconds),
        until,
    };
    let gaps = arguments.least_gap..=arguments.most_gap.max(arguments.least_gap);
    let steady = app.engine()?;
    let watched = flat::watch(steady.id(), app.database.clone(), until);
    let (enrolled, chaos, watched) =
        tokio::try_join!(rounds::run(&load, &witness), chaos::reign(app, gaps, until), watched)?;
    let (kind, minutes, events) = (app.database.kind(), arguments.minutes, receiver.count());
    say(&format!("database={kind} minutes={minutes} enrolled={enrolled} events={events}"))?;
    told(&chaos)?;
    let over = invariants::come_to_rest(app).await?;
    let mut broken = invariants::broken(app, &sink, &witness, enrolled).await?;
    if over > 0 {
        broken.push(format!("S4: {over} mailboxes passed their day"));
    }
    if events == 0 {
        broken.push("no event was delivered".to_owned());
    }
    broken.extend(watched.judged(&app.database).await?);
    drop(steady);
    if broken.is_empty() { Ok(say("held=S1,S2,S3,S4,S5,S6,flat")?) } else { Err(broken.join("; ").into()) }
}

fn told(chaos: &Chaos) -> Result<(), Error> {
    let Chaos { kills, restarts, looks } = chaos;
    say(&format!("kills={kills} database_restarts={restarts}"))?;
    let third = looks.len() / 3;
    let middle = |some: &[chaos::Look], of: fn(&chaos::Look) -> u64| {
        let mut values: Vec<u64> = some.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let (first, last) =
        (looks.get(..third).unwrap_or(looks), looks.get(looks.len() - third..).unwrap_or(looks));
    let most = looks.iter().map(|look| look.resident_kib / 1024).max().unwrap_or_default();
    say(&format!(
        "rss_mib_first_third={} rss_mib_last_third={} rss_mib_most={most}",
        middle(first, |look| look.resident_kib) / 1024,
        middle(last, |look| look.resident_kib) / 1024
    ))?;
    Ok(say(&format!(
        "open_files_first_third={} open_files_last_third={}",
        middle(first, |look| look.open_files),
        middle(last, |look| look.open_files)
    ))?)
}
