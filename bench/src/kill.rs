//! kill -9 in the middle of a campaign, again and again, at moments that chance picks; then: nobody was left out, nobody was
//! written to twice, and at most one message per open connection is uncertain for each kill.

use std::time::{Duration, Instant};

use clap::Args;
use rand::Rng;
use testkit::{api::Error, wait::eventually};

use crate::{app::App, campaign, mail, say};

/// A killed process is taken for dead soon: nobody waits for the usual 30 seconds.
pub const VARIABLES: [(&str, &str); 1] = [("ENGINE_DEAD_AFTER_SECONDS", "3")];

/// What is killed, and how often.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// How many contacts get one message each.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// How many mailboxes send at a time.
    #[arg(long, default_value_t = 10)]
    pub lanes: u16,
    /// How often it is killed.
    #[arg(long, default_value_t = 10)]
    kills: u32,
}

/// Kills and counts.
///
/// # Errors
/// A call that failed, or something was lost, doubled, or uncertain without a connection that it was on.
pub async fn measure(arguments: Arguments, app: &mut App) -> Result<(), Error> {
    let Arguments { messages, lanes, kills } = arguments;
    let sink = mail::server().await?;
    let prepared = campaign::prepare(app.api()?, messages, lanes, sink.port()).await?;
    let begun = Instant::now();
    prepared.dispatch().await?;
    for kill in 0..u64::from(kills) {
        let part = messages / u64::from(kills + 1);
        let at = kill * part + rand::rng().random_range(1..=part.max(1));
        sink.wait_for(at, app.within).await?;
        app.kill_and_start().await?;
    }
    let settled = eventually(app.within, || async {
        let (sent, uncertain) = prepared.sent_and_uncertain().await.ok()?;
        (sent + uncertain == messages).then_some((sent, uncertain))
    });
    let (sent, uncertain) = match settled.await {
        Ok(settled) => settled,
        Err(_) => prepared.sent_and_uncertain().await?,
    };
    // Whatever came after that came too late to be counted.
    eventually(Duration::from_secs(5), || async { (sink.count() >= sent).then_some(()) }).await.ok();
    let tally = sink.tally();
    let doubled = tally.messages - tally.recipients;
    let unseen = sent.saturating_sub(tally.recipients);
    let lost = messages.saturating_sub(sent + uncertain) + unseen;
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("database={} lanes={lanes} messages={messages} kills={kills}", app.database.kind()))?;
    say(&format!("seconds={seconds:.1} lost={lost} doubled={doubled} uncertain={uncertain}"))?;
    let most = u64::from(kills) * u64::from(lanes * campaign::CONNECTIONS);
    if lost + doubled == 0 && uncertain <= most {
        return Ok(());
    }
    Err(format!("lost {lost}, doubled {doubled}, uncertain {uncertain} of at most {most}").into())
}
