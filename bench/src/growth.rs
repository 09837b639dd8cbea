//! What a past costs: the claim of what is due, a dispatch, a page and the figures of a campaign, where 10³, 10⁴, 10⁵ … of
//! its own enrollments are finished. All of it should cost what it costs at the beginning.
//!
//! One lane sends over one connection, so nothing overlaps: what a claim takes is seen at the mail server, as the time by
//! which the first message of a claim comes later behind its forerunner than any other does. In it are the claim of fifty
//! itself, the commit of the last outcome before it, what the lane reads anew of its campaign, and one round trip to the
//! mail server, since nothing was offered ahead.

use std::time::{Duration, Instant};

use clap::Args;
use testkit::api::{Error, text};

use crate::{
    app::App,
    campaign::{self, Prepared},
    fill::Past,
    mail::{self, Timed},
    say,
    spread::Spread,
    wal::{self, Written},
};

/// Connections of the lane.
pub const CONNECTIONS: u16 = 1;
/// Messages of a round.
const MESSAGES: u64 = 1_000;
/// Messages that are claimed at a time.
const CLAIM: usize = 50;
/// Rounds at each size that are counted.
const ROUNDS: usize = 5;
/// Times that a page and a campaign are asked for.
const LOOKS: usize = 50;

/// How far it grows.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Finished enrollments at the end: a power of ten from 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    most: u64,
}

/// What a round took.
struct Round {
    dispatch: Duration,
    /// From the first message to the last.
    all: Duration,
    /// Of each claim but the first.
    claims: Vec<Duration>,
    /// Where the database is PostgreSQL and its user may look into the log.
    written: Option<Written>,
}

/// Grows and measures.
///
/// # Errors
/// A call that failed, or not everything came.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let sink = mail::timed().await?;
    let prepared = campaign::prepare(app.api()?, 0, 1, sink.sink.port()).await?;
    let account = text(&prepared.api.get("/account").await?, "/id")?;
    let credential = text(&prepared.seen().await?, "/credentials/0/id")?;
    let campaign = prepared.path.trim_start_matches("/campaigns/").to_owned();
    let past = Past { database: &app.database, account, campaign, credential };
    past.begin().await?;
    let may_look = wal::may_look(&app.database).await;
    say(&format!("database={} messages={MESSAGES} rounds={ROUNDS}", app.database.kind()))?;
    let (mut rows, mut sent) = (0, 0);
    for size in (3..).map(|power| 10_u64.pow(power)).take_while(|size| *size <= arguments.most) {
        let begun = Instant::now();
        past.write(rows, size).await?;
        let filled = begun.elapsed();
        rows = size;
        let mut rounds = Vec::with_capacity(ROUNDS);
        // The first is for the caches, and is not counted.
        for number in 0..=ROUNDS {
            let round = send(&prepared, &sink, sent, app, may_look).await?;
            sent += MESSAGES;
            if number > 0 {
                rounds.push(round);
            }
        }
        let list = looks(&prepared, &format!("{}/enrollments?limit=50", prepared.path)).await?;
        let stats = looks(&prepared, &prepared.path).await?;
        say(&format!(
            "rows_{size}: {} list_ms={:.2} stats_ms={:.2} filled_in_s={:.0}",
            told(&rounds)?,
            list * 1e3,
            stats * 1e3,
            filled.as_secs_f64()
        ))?;
    }
    Ok(())
}

/// The medians of the rounds. The spread of the claims is that of the rounds' own medians: one claim may meet anything.
fn told(rounds: &[Round]) -> Result<String, Error> {
    let each = |of: &dyn Fn(&Round) -> Option<f64>| Spread::of(rounds.iter().filter_map(of));
    let claim = each(&|round| Some(Spread::of(round.claims.iter().map(Duration::as_secs_f64))?.middle * 1e3));
    let messages = f64::from(u32::try_from(MESSAGES)?);
    let message = each(&|round| Some(round.all.as_secs_f64() * 1e6 / messages));
    let dispatch = each(&|round| Some(round.dispatch.as_secs_f64() * 1e3));
    let figures = [("claim_ms", claim, 2), ("message_us", message, 0), ("dispatch_ms", dispatch, 1)];
    let written = |of: fn(&Written) -> f64| each(&|round| Some(of(round.written.as_ref()?) / messages));
    let log =
        [("wal_bytes", written(|it| it.bytes), 0), ("wal_page_image_bytes", written(|it| it.page_images), 0)];
    let figures = figures.into_iter().chain(log).filter_map(|(name, seen, digits)| {
        let seen = seen?.told(digits);
        Some(format!("{name}={seen}"))
    });
    Ok(figures.collect::<Vec<_>>().join(" "))
}

/// Sends another round.
async fn send(
    prepared: &Prepared,
    timed: &Timed,
    from: u64,
    app: &App,
    may_look: bool,
) -> Result<Round, Error> {
    prepared.enroll(from..from + MESSAGES).await?;
    timed.clear();
    let log = if may_look { Some(wal::Place::of(&app.database).await?) } else { None };
    let begun = Instant::now();
    prepared.dispatch().await?;
    let dispatch = begun.elapsed();
    timed.sink.wait_for(MESSAGES, app.within).await?;
    prepared.wait_until_completed(app.within).await?;
    let written = match log {
        Some(place) => Some(place.written_since(&app.database).await?),
        None => None,
    };
    let times = timed.times();
    let all = times.first().zip(times.last()).map(|(first, last)| *last - *first);
    Ok(Round { dispatch, all: all.ok_or("nothing came")?, claims: claims(&times)?, written })
}

/// By how much the first message of each claim comes later than others do.
fn claims(times: &[Instant]) -> Result<Vec<Duration>, Error> {
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| *next - *one);
    // The gap at this place is before the message of the next number.
    let (firsts, others): (Vec<_>, Vec<_>) =
        gaps.enumerate().partition(|(place, _)| (place + 1).is_multiple_of(CLAIM));
    let usual = Spread::of(others.iter().map(|(_, gap)| gap.as_secs_f64())).ok_or("too little came")?;
    let usual = Duration::from_secs_f64(usual.middle);
    Ok(firsts.into_iter().map(|(_, gap)| gap.saturating_sub(usual)).collect())
}

/// The median time of a GET in seconds.
async fn looks(prepared: &Prepared, path: &str) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        prepared.api.get(path).await?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(Spread::of(times).ok_or("nothing was asked for")?.middle)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_claim_is_what_its_first_message_comes_later() {
        let begun = Instant::now();
        let mut at = begun;
        let times: Vec<Instant> = (0..150)
            .map(|n| {
                at += Duration::from_millis(if n > 0 && n % 50 == 0 { 9 } else { 2 });
                at
            })
            .collect();
        assert_eq!(claims(&times).unwrap(), [Duration::from_millis(7); 2]);
    }
}
