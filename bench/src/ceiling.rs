//! How near a campaign comes to what the sink takes at all: `smtp-source -s 10 -d` (Debian package postfix) into the same
//! sink, with messages of the same size, right after the campaign; with a round trip, both through the same proxy.

use std::time::Instant;

use testkit::{api::Error, proxy::Proxy, sink::Sink};
use tokio::process::Command;

use crate::{app::App, campaign, say};

/// Sends both, and says how they compare.
///
/// # Errors
/// A call that failed, `smtp-source` is missing, or a contact did not get exactly one message.
pub async fn measure(arguments: campaign::Arguments, app: &App) -> Result<(), Error> {
    let sink = arguments.server().await?;
    let line = arguments.line(&sink).await?;
    let port = line.as_ref().map_or_else(|| sink.port(), Proxy::port);
    let sent = campaign::send(arguments, app, &sink, port).await?;
    campaign::report(arguments, app.database.kind(), &sent)?;
    let ceiling = source(arguments, &sink, port, sent.bytes).await?;
    say(&format!("smtp_source_per_second={ceiling:.0} ratio={:.3}", sent.rate() / ceiling))?;
    campaign::judged(&sent)
}

/// Messages per second of `smtp-source` to a mail server at `port` that leads to the sink.
async fn source(arguments: campaign::Arguments, sink: &Sink, port: u16, bytes: u64) -> Result<f64, Error> {
    let messages = arguments.messages;
    sink.clear();
    let begun = Instant::now();
    let ran = Command::new("/usr/sbin/smtp-source")
        .args([
            "-s",
            &arguments.lanes.to_string(),
            "-d",
            "-m",
            &messages.to_string(),
            "-l",
            &bytes.to_string(),
        ])
        .args(["-f", "bench@sender.example", "-t", "person@example.com"])
        .arg(format!("127.0.0.1:{port}"))
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("smtp-source: {error}; is the package `postfix` installed?"))?;
    let tally = sink.tally();
    if !ran.status.success() || tally.messages != messages {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("smtp-source sent {} of {messages}: {said}", tally.messages).into());
    }
    let last = tally.last_at.ok_or("nothing came")?;
    Ok(f64::from(u32::try_from(messages)?) / (last - begun).as_secs_f64())
}
