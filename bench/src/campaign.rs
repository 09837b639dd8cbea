//! How fast campaigns go out: messages per second from dispatch to the last final dot, into a sink in this process that
//! only counts; and what was lost or doubled. Contacts get one step with three merge fields, and nothing waits.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, text},
    sink::{Keep, Sink},
    wait::eventually,
};

use crate::{app::App, process::Usage, say};

/// As many as are enrolled at once, while the client waits.
const CHUNK: u64 = 10_000;

/// What is sent.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// How many contacts get one message each.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// How many mailboxes send at a time.
    #[arg(long, default_value_t = 10)]
    pub lanes: u16,
}

/// Sends it, and says how fast it went.
///
/// # Errors
/// A call that failed, or a contact that did not get exactly one message.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let sink = Sink::builder().keep(Keep::Tally).start().await?;
    let prepared = prepare(app.api()?, arguments.messages, arguments.lanes, sink.port()).await?;
    let (before, started) = (Usage::of(app.pid())?, Instant::now());
    prepared.dispatch().await?;
    // What is missing then is counted as lost.
    let came = sink.wait_for(arguments.messages, app.within).await;
    let after = Usage::of(app.pid())?;
    prepared.wait_until_completed(app.within).await?;
    if let Err(error) = came {
        say(&format!("not all came: {error}"))?;
    }
    report(arguments, &sink, app.database.kind(), started, after.since(&before))
}

fn report(arguments: Arguments, sink: &Sink, kind: &str, started: Instant, used: Usage) -> Result<(), Error> {
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

/// A campaign that waits for its dispatch.
struct Prepared {
    api: Api,
    path: String,
}

/// Signs up, imports `messages` contacts and enrolls them in a campaign of `lanes` mailboxes at `port`.
async fn prepare(api: Api, messages: u64, lanes: u16, port: u16) -> Result<Prepared, Error> {
    let account = api.post("/signup", &json!({ "email": "bench@example.com" })).await?;
    let api = api.with_key(text(&account, "/api_key/plaintext")?);
    let path = format!("/campaigns/{}", text(&api.post("/campaigns", &campaign(lanes, port)).await?, "/id")?);
    let mut from = 0;
    while from < messages {
        let to = messages.min(from + CHUNK);
        let import = api.post("/contact_imports", &contacts(from, to)).await?;
        let enroll = json!({ "contact_import_id": text(&import, "/id")?, "batch_size": 100_000 });
        api.post(&format!("{path}/enroll"), &enroll).await?;
        from = to;
    }
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
    /// Lets it go.
    async fn dispatch(&self) -> Result<(), Error> {
        self.api.post(&format!("{}/dispatch", self.path), &json!({})).await.map(drop)
    }

    /// Until nothing of it is left to send or record.
    async fn wait_until_completed(&self, within: Duration) -> Result<(), Error> {
        let seen = eventually(within, || async {
            match self.api.get(&self.path).await {
                Ok(seen) => (seen.get("status")? == "completed").then_some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        seen.await?
    }
}
