//! What a past costs: the claim of what is due, a dispatch, a page and the figures of a campaign, where 10³, 10⁴, 10⁵ … of
//! its own enrollments are finished. All of it should cost what it costs at the beginning.

use std::time::{Duration, Instant};

use clap::Args;
use testkit::{
    api::{Error, text},
    sink::Sink,
};

use crate::{
    app::App,
    campaign::{self, Prepared},
    fill::Past,
    mail, say,
};

/// Messages that are sent at each size: claims of fifty each, by one lane.
const MESSAGES: u64 = 1_000;
/// Times that a page and a campaign are asked for.
const LOOKS: usize = 50;

/// How far it grows.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Finished enrollments at the end: a power of ten from 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    most: u64,
}

/// Grows and measures.
///
/// # Errors
/// A call that failed, or not everything came.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let sink = mail::server().await?;
    let prepared = campaign::prepare(app.api()?, 0, 1, sink.port()).await?;
    let account = text(&prepared.api.get("/account").await?, "/id")?;
    let credential = text(&prepared.seen().await?, "/credentials/0/id")?;
    let campaign = prepared.path.trim_start_matches("/campaigns/").to_owned();
    let past = Past { database: &app.database, account, campaign, credential };
    past.begin().await?;
    say(&format!("database={} messages={MESSAGES}", app.database.kind()))?;
    let (mut rows, mut round) = (0, 0);
    for size in (3..).map(|power| 10_u64.pow(power)).take_while(|size| *size <= arguments.most) {
        let begun = Instant::now();
        past.write(rows, size).await?;
        let filled = begun.elapsed();
        rows = size;
        // The first is for the caches, and is not counted.
        send(&prepared, &sink, &mut round, app.within).await?;
        let (dispatch, message) = send(&prepared, &sink, &mut round, app.within).await?;
        let list = looks(&prepared, &format!("{}/enrollments?limit=50", prepared.path)).await?;
        let stats = looks(&prepared, &prepared.path).await?;
        say(&format!(
            "rows_{size}: message_us={:.0} dispatch_ms={:.1} list_ms={:.2} stats_ms={:.2} filled_in_s={:.0}",
            message.as_secs_f64() * 1e6,
            dispatch.as_secs_f64() * 1e3,
            list.as_secs_f64() * 1e3,
            stats.as_secs_f64() * 1e3,
            filled.as_secs_f64()
        ))?;
    }
    Ok(())
}

/// Sends another round; how long the dispatch took, and each message from the first to the last.
async fn send(
    prepared: &Prepared,
    sink: &Sink,
    round: &mut u64,
    within: Duration,
) -> Result<(Duration, Duration), Error> {
    prepared.enroll(*round * MESSAGES..(*round + 1) * MESSAGES).await?;
    *round += 1;
    sink.clear();
    let begun = Instant::now();
    prepared.dispatch().await?;
    let dispatch = begun.elapsed();
    sink.wait_for(MESSAGES, within).await?;
    prepared.wait_until_completed(within).await?;
    let tally = sink.tally();
    let (first, last) = tally.first_at.zip(tally.last_at).ok_or("nothing came")?;
    Ok((dispatch, (last - first) / u32::try_from(MESSAGES)?))
}

/// The median time of a GET.
async fn looks(prepared: &Prepared, path: &str) -> Result<Duration, Error> {
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        prepared.api.get(path).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(LOOKS / 2).copied().unwrap_or_default())
}
