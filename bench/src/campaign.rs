//! How fast campaigns go out: messages per second from dispatch to the last final dot, into a sink in this process that
//! only counts; and what was lost or doubled. Contacts get one step with three merge fields, and nothing waits.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, number, text},
    proxy::Proxy,
    sink::Sink,
    wait::eventually,
};

use crate::{app::App, mail, people, process::Used, say, waiting};

/// As many as are enrolled at once, while the client waits.
const CHUNK: u64 = 10_000;
/// How many connections a lane may use at a time, where nothing else is said: what the application has by itself.
pub const CONNECTIONS: u16 = 4;

/// What is sent.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// How many contacts get one message each.
    #[arg(long, default_value_t = 20_000)]
    pub messages: u64,
    /// How many mailboxes send at a time.
    #[arg(long, default_value_t = 10)]
    pub lanes: u16,
    /// How many connections each of them may use at a time.
    #[arg(long, default_value_t = CONNECTIONS)]
    pub connections: u16,
    /// A round trip to the mail server in milliseconds, half of it each way, for all that is sent; `campaign` shows beside it
    /// what a client gets that waits for each reply.
    #[arg(long, default_value_t = 0)]
    rtt: u64,
    /// The mail server takes no chunks: each message waits for the answer to DATA.
    #[arg(long)]
    data: bool,
}

impl Arguments {
    /// The mail server that is sent to.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn server(&self) -> Result<Sink, Error> {
        if self.data { mail::server_without_chunks().await } else { mail::server().await }
    }

    /// The line to it that delays, where a round trip is asked for.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn line(&self, to: &Sink) -> Result<Option<Proxy>, Error> {
        if self.rtt == 0 {
            return Ok(None);
        }
        let line = Proxy::start(to.address()).await?;
        line.delay(Duration::from_micros(self.rtt * 500));
        Ok(Some(line))
    }
}

/// How it went.
pub struct Sent {
    /// From the dispatch to the last final dot.
    pub seconds: f64,
    /// Messages that came.
    pub messages: f64,
    /// Bytes of a message, on average.
    pub bytes: u64,
    used: Used,
    lost: u64,
    doubled: u64,
}

impl Sent {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages / self.seconds
    }
}

/// Sends it, and says how fast it went.
///
/// # Errors
/// A call that failed, or a contact that did not get exactly one message.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let sink = arguments.server().await?;
    let line = arguments.line(&sink).await?;
    let port = line.as_ref().map_or_else(|| sink.port(), Proxy::port);
    let sent = send(arguments, app, &sink, port).await?;
    report(arguments, app.database.kind(), &sent)?;
    if let Some(line) = line {
        let connections = arguments.lanes * arguments.connections;
        let waiting = waiting::rate(line.address(), connections, arguments.messages / 10, sent.bytes).await?;
        say(&format!(
            "waiting_client_per_second={waiting:.0} times_the_waiting_client={:.2}",
            sent.rate() / waiting
        ))?;
    }
    judged(&sent)
}

/// Sends it to a mail server at `port` that leads to the sink.
///
/// # Errors
/// A call that failed.
pub async fn send(arguments: Arguments, app: &App, sink: &Sink, port: u16) -> Result<Sent, Error> {
    let prepared = prepare(app.api()?, arguments.messages, arguments.lanes, port).await?;
    let (before, started) = (app.used()?, Instant::now());
    prepared.dispatch().await?;
    // What is missing then is counted as lost.
    let came = sink.wait_for(arguments.messages, app.within).await;
    let used = app.used()?.since(&before);
    if let Err(error) = came {
        say(&format!("not all came: {error}"))?;
    }
    if let Err(error) = prepared.wait_until_completed(app.within).await {
        say(&format!("not completed: {error}"))?;
    }
    let tally = sink.tally();
    let last = tally.last_at.ok_or("nothing came")?;
    Ok(Sent {
        seconds: (last - started).as_secs_f64(),
        messages: f64::from(u32::try_from(tally.messages)?),
        bytes: tally.bytes / tally.messages.max(1),
        used,
        lost: arguments.messages.saturating_sub(tally.recipients),
        doubled: tally.messages - tally.recipients,
    })
}

/// Says how it went.
///
/// # Errors
/// Standard output is closed.
pub fn report(arguments: Arguments, kind: &str, sent: &Sent) -> Result<(), Error> {
    let Arguments { lanes, rtt, .. } = arguments;
    say(&format!(
        "database={kind} lanes={lanes} messages={} rtt_ms={rtt} bytes={}",
        sent.messages, sent.bytes
    ))?;
    say(&format!("seconds={:.2} messages_per_second={:.0}", sent.seconds, sent.rate()))?;
    let (cpu, peak) = (sent.used.millis_each(sent.messages), sent.used.app.peak_kib / 1024);
    say(&format!("cpu_ms_per_message={cpu} peak_rss_mib={peak}"))?;
    Ok(say(&format!("lost={} doubled={}", sent.lost, sent.doubled))?)
}

/// An error where something was lost or doubled.
///
/// # Errors
/// That.
pub fn judged(sent: &Sent) -> Result<(), Error> {
    if sent.lost + sent.doubled > 0 { Err("not every contact got one message".into()) } else { Ok(()) }
}

/// A campaign that waits for its dispatch.
pub struct Prepared {
    /// With the key of its account.
    pub api: Api,
    /// The campaign's.
    pub path: String,
}

/// Signs up, imports `messages` contacts and enrolls them in a campaign of `lanes` mailboxes at `port`.
///
/// # Errors
/// A call that failed.
pub async fn prepare(api: Api, messages: u64, lanes: u16, port: u16) -> Result<Prepared, Error> {
    let (api, _) = people::sign_up(api).await?;
    let prepared = made(api, &campaign(lanes, port)).await?;
    prepared.enroll(0..messages).await?;
    Ok(prepared)
}

/// Makes the campaign.
///
/// # Errors
/// A call that failed.
pub async fn made(api: Api, campaign: &Value) -> Result<Prepared, Error> {
    let path = format!("/campaigns/{}", text(&api.post("/campaigns", campaign).await?, "/id")?);
    Ok(Prepared { api, path })
}

fn contacts(from: u64, to: u64) -> Value {
    let people = (from..to).map(|n| {
        json!({
            "email": format!("person-{n}@example.com"), "first_name": format!("First{n}"),
            "company": format!("Company {n}"), "custom": { "city": format!("City {n}") },
        })
    });
    json!({ "contact_import": { "name": format!("From {from}"), "contacts": people.collect::<Vec<_>>() } })
}

/// A campaign of `lanes` mailboxes at `port` of this machine, with one step of three merge fields and no waits.
pub fn campaign(lanes: u16, port: u16) -> Value {
    let mailboxes = (0..lanes).map(|n| {
        json!({
            "smtp_host": "127.0.0.1", "smtp_port": port, "smtp_username": "bench", "smtp_password": "none",
            "from_name": "Bench", "from_email": format!("bench-{n}@sender.example"), "daily_limit": 100_000,
        })
    });
    json!({ "campaign": {
        "name": "Bench", "min_wait_seconds": 0, "max_wait_seconds": 0,
        "smtp_credentials": mailboxes.collect::<Vec<_>>(),
        "sequence_steps": [{
            "position": 1, "subject": "{{ first_name }}, a question",
            "body_html": "<p>Hello {{ first_name }},</p><p>how is {{ company }} in {{ custom.city }}?</p>",
        }],
    }})
}

impl Prepared {
    /// Imports the people of these numbers and enrolls them.
    ///
    /// # Errors
    /// A call that failed.
    pub async fn enroll(&self, people: std::ops::Range<u64>) -> Result<(), Error> {
        let mut from = people.start;
        while from < people.end {
            let to = people.end.min(from + CHUNK);
            let import = self.api.post("/contact_imports", &contacts(from, to)).await?;
            let enroll = json!({ "contact_import_id": text(&import, "/id")?, "batch_size": 100_000 });
            self.api.post(&format!("{}/enroll", self.path), &enroll).await?;
            from = to;
        }
        Ok(())
    }

    /// Lets it go.
    ///
    /// # Errors
    /// A call that failed.
    pub async fn dispatch(&self) -> Result<(), Error> {
        self.api.post(&format!("{}/dispatch", self.path), &json!({})).await.map(drop)
    }

    /// As it is shown.
    ///
    /// # Errors
    /// A call that failed.
    pub async fn seen(&self) -> Result<Value, Error> {
        self.api.get(&self.path).await
    }

    /// Until nothing of it is left to send or record.
    ///
    /// # Errors
    /// A call that failed, or it does not come to that in time.
    pub async fn wait_until_completed(&self, within: Duration) -> Result<(), Error> {
        let over = eventually(within, || async {
            match self.seen().await {
                Ok(seen) => (seen.get("status")? == "completed").then_some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        over.await?
    }

    /// How many of its enrollments were sent, and how many deliveries are uncertain.
    ///
    /// # Errors
    /// A call that failed.
    pub async fn sent_and_uncertain(&self) -> Result<(u64, u64), Error> {
        let seen = self.seen().await?;
        Ok((number(&seen, "/totals/sent")?, number(&seen, "/uncertain")?))
    }
}
