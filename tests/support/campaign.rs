//! Campaigns that are ready to send, through the API.

use std::time::Duration;

use loco_rs::app::AppContext;
use sea_orm::ConnectionTrait;
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Client, World};

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A credential that leads to a sink.
pub fn credential(sink: &Sink, from: &str) -> Json {
    json!({
        "label": from, "smtp_host": "127.0.0.1", "smtp_port": sink.port(), "smtp_username": "user",
        "smtp_password": "secret", "from_name": "Sender", "from_email": from, "daily_limit": 100_000
    })
}

/// A step without a delay.
pub fn step(position: i32) -> Json {
    json!({
        "position": position, "subject": format!("Step {position} for {{{{first_name}}}}"),
        "body_html": "<p>Hello {{first_name}} of {{company}}</p>", "delay_minutes": 0
    })
}

/// A campaign without pauses between messages.
pub fn campaign(credentials: &[Json], steps: i32) -> Json {
    let steps: Vec<Json> = (1..=steps).map(step).collect();
    json!({ "campaign": {
        "name": "Spring", "min_wait_seconds": 0, "max_wait_seconds": 0,
        "smtp_credentials": credentials, "sequence_steps": steps
    }})
}

/// The same with messages of more than twenty kilobytes, which go out in more than one write.
pub fn large_campaign(credentials: &[Json], steps: i32) -> Json {
    let mut campaign = campaign(credentials, steps);
    for step in campaign["campaign"]["sequence_steps"].as_array_mut().unwrap() {
        step["body_html"] = format!("<p>{}</p>", "Hello {{first_name}}. ".repeat(1_000)).into();
    }
    campaign
}

/// Imports these addresses; answers the import's id.
pub async fn import(client: &Client, emails: &[String]) -> String {
    let contacts: Vec<Json> = emails
        .iter()
        .map(|email| json!({ "email": email, "first_name": "Ada", "company": "Engines & Sons" }))
        .collect();
    let made = client
        .made("/contact_imports", &json!({ "contact_import": { "name": "People", "contacts": contacts } }))
        .await;
    made["id"].as_str().unwrap().to_owned()
}

/// Creates a campaign, enrolls these addresses and dispatches it; answers the campaign's id.
pub async fn dispatched(client: &Client, campaign: &Json, emails: &[String]) -> String {
    let id = enrolled(client, campaign, emails).await;
    client.made(&format!("/campaigns/{id}/dispatch"), &json!({})).await;
    id
}

/// The same without the dispatch.
pub async fn enrolled(client: &Client, campaign: &Json, emails: &[String]) -> String {
    let import = import(client, emails).await;
    let id = client.made("/campaigns", campaign).await["id"].as_str().unwrap().to_owned();
    let answer =
        client.made(&format!("/campaigns/{id}/enroll"), &json!({ "contact_import_id": import })).await;
    assert_eq!(answer["enrolled"], emails.len());
    id
}

/// `local+0@example.test`, `local+1@example.test`, …
pub fn addresses(local: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{local}+{n}@example.test")).collect()
}

/// The engine of a world, running until stopped.
pub struct Engine {
    stop: CancellationToken,
    task: JoinHandle<loco_rs::Result<()>>,
}

impl Engine {
    pub fn start(ctx: &AppContext) -> Self {
        let settings = ampout::state::AppState::of(ctx).unwrap().settings.engine;
        let stop = CancellationToken::new();
        let task = tokio::spawn(ampout::engine::run(ctx.clone(), settings, stop.clone()));
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// How many deliveries are in this state.
pub async fn deliveries(w: &World, state: &str) -> usize {
    let count = w.number("SELECT count(*) FROM deliveries WHERE state = $1", [state.into()]).await;
    usize::try_from(count).unwrap()
}

/// Ends the rests of lanes: no test waits for them. A database that is away is asked again by the test's next look.
pub async fn rests_are_over(w: &World) {
    let rested = "UPDATE smtp_credentials SET next_send_at = 0, wake_at = 0 WHERE holder IS NULL AND wake_at IS NOT NULL";
    w.ctx.db.execute_unprepared(rested).await.ok();
}

/// Waits until all steps of a campaign are sent, and looks that each reached everybody once and is counted once.
pub async fn ends_well(w: &World, sink: &Sink, id: &str, people: &[String], steps: usize) {
    let seen = eventually(2 * DEADLINE, || async {
        rests_are_over(w).await;
        let seen = w.alice.get(&format!("/campaigns/{id}")).await;
        // Its connections may have ended with the database's server.
        let seen = seen.status_code().is_success().then(|| seen.json::<Json>())?;
        (seen["status"] == "completed" || seen["uncertain"] != 0).then_some(seen)
    })
    .await
    .unwrap();
    assert_eq!((&seen["uncertain"], &seen["totals"]["sent"]), (&0.into(), &people.len().into()), "{seen}");
    for person in people {
        assert_eq!(sink.messages_to(person).len(), steps, "{person}");
    }
    let sends = w.number("SELECT sends FROM account_periods", []).await;
    assert_eq!(usize::try_from(sends).unwrap(), people.len() * steps);
    assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
}

/// Waits until a campaign has that status; answers it.
pub async fn until_status(client: &Client, id: &str, status: &str) -> Json {
    let path = format!("/campaigns/{id}");
    let seen = eventually(DEADLINE, || async {
        let seen = client.seen(&path).await;
        (seen["status"] == status).then_some(seen)
    })
    .await;
    match seen {
        Ok(seen) => seen,
        Err(error) => panic!("{error}: {}", client.seen(&path).await),
    }
}
