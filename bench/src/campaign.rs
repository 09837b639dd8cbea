//! The campaign that is measured: contacts, one step with three merge fields, no waits between messages.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, text},
    wait::eventually,
};

/// As many as are enrolled at once, while the client waits.
const CHUNK: u64 = 10_000;

/// A campaign that waits for its dispatch.
pub struct Prepared {
    api: Api,
    path: String,
}

/// Signs up, imports `messages` contacts and enrolls them in a campaign of `lanes` mailboxes at `port`.
///
/// # Errors
/// A call that failed.
pub async fn prepare(api: Api, messages: u64, lanes: u16, port: u16) -> Result<Prepared, Error> {
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

fn campaign(lanes: u16, port: u16) -> Value {
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
    ///
    /// # Errors
    /// The call failed.
    pub async fn dispatch(&self) -> Result<(), Error> {
        self.api.post(&format!("{}/dispatch", self.path), &json!({})).await.map(drop)
    }

    /// Until nothing of it is left to send or record.
    ///
    /// # Errors
    /// It took longer, or a call failed.
    pub async fn wait_until_completed(&self, within: Duration) -> Result<(), Error> {
        let seen = eventually(within, || async {
            match self.api.get(&self.path).await {
                Ok(seen) => (seen.get("status")? == "completed").then_some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        seen.await?
    }
}
