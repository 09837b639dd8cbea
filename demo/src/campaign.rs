//! The walk through the API: sign up, import, make a campaign, enroll, dispatch, and watch until it is completed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, number, text},
    sink::Sink,
    wait::eventually,
};

use crate::say;

/// Two steps each are the hundred sends that a month of the free plan has.
pub const CONTACTS: usize = 50;
/// Steps of the campaign.
pub const STEPS: usize = 2;

const WITHIN: Duration = Duration::from_secs(20);

/// Sends everything and gives the campaign as the API shows it then.
///
/// # Errors
/// A call that failed, or mails that did not come.
pub async fn run(url: &str, sink: &Sink) -> Result<Value, Error> {
    let api = Api::new(url)?;
    let account = api.post("/signup", &json!({ "email": "demo@example.com" })).await?;
    let api = api.with_key(text(&account, "/api_key/plaintext")?);
    say(&format!("Signed up; the key begins with {}.", text(&account, "/api_key/prefix")?))?;

    let import = api.post("/contact_imports", &contacts()).await?;
    say(&format!("Imported {} contacts.", number(&import, "/record_count")?))?;

    let campaign = text(&api.post("/campaigns", &campaign(sink.port())).await?, "/id")?;
    let path = format!("/campaigns/{campaign}");
    let enroll = json!({ "contact_import_id": text(&import, "/id")?, "batch_size": 20 });
    let enrolled = api.post(&format!("{path}/enroll"), &enroll).await?;
    let (count, batches) = (number(&enrolled, "/enrolled")?, number(&enrolled, "/batches")?);
    say(&format!("Enrolled {count} of them, in {batches} batches."))?;

    let dispatched = api.post(&format!("{path}/dispatch"), &json!({})).await?;
    say(&format!("Dispatched {}.", number(&dispatched, "/dispatched")?))?;
    watch(sink).await?;
    completed(&api, &path).await
}

fn contacts() -> Value {
    let names = ["Ada", "Grace", "Alan", "Barbara", "Edsger"];
    let people = names.iter().cycle().zip(1..=CONTACTS).map(|(name, n)| {
        json!({
            "email": format!("{}-{n}@example.com", name.to_lowercase()),
            "first_name": name,
            "company": format!("Company {n}"),
            "custom": { "seats": n },
        })
    });
    json!({ "contact_import": { "name": "Demo", "contacts": people.collect::<Vec<_>>() } })
}

/// Two mailboxes, no waits between messages, a second step right after the first.
fn campaign(port: u16) -> Value {
    let mailbox = |name: &str| {
        json!({
            "smtp_host": "127.0.0.1", "smtp_port": port, "smtp_username": name, "smtp_password": "none",
            "from_name": name, "from_email": format!("{name}@sender.example"), "daily_limit": 1000,
        })
    };
    json!({ "campaign": {
        "name": "Demo", "min_wait_seconds": 0, "max_wait_seconds": 0,
        "smtp_credentials": [mailbox("anna"), mailbox("bert")],
        "sequence_steps": [
            {
                "position": 1, "subject": "{{ first_name }}, a question about {{ company }}",
                "body_html": "<p>Hello {{ first_name | default: \"there\" }},</p>\
                              <p>are {{ custom.seats }} seats enough for {{ company }}?</p>",
            },
            {
                "position": 2, "subject": "Re: {{ first_name }}, a question about {{ company }}",
                "body_html": "<p>Only asking once more.</p>",
            },
        ],
    }})
}

async fn watch(sink: &Sink) -> Result<(), Error> {
    let all = CONTACTS * STEPS;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} mails")?;
    let bar = ProgressBar::new(all as u64).with_style(style);
    for n in 1..=all as u64 {
        sink.wait_for(n, WITHIN).await?;
        bar.set_position(n);
    }
    bar.finish();
    Ok(())
}

/// The last mail arrived before it was recorded: a moment later nothing is left to send.
async fn completed(api: &Api, path: &str) -> Result<Value, Error> {
    let seen = eventually(WITHIN, || async {
        let answer = api.get(path).await;
        match answer {
            Ok(campaign) if campaign.get("status").and_then(Value::as_str) != Some("completed") => None,
            other => Some(other),
        }
    });
    seen.await?
}
