//! What endpoints are told: which events, signed how, how often, and what becomes of endpoints that misbehave.

mod broken;
mod delivering;
mod events;
mod fencing;
mod hostile;
mod kill;
mod rotating;

use std::sync::Arc;

use ampout::{
    clock::Timestamp,
    crypto::{Secret, WebhookSecret},
    models::webhooks::outbox::{self, PauseReason},
    tenancy::{Conn, SystemScope},
};
use serde_json::{Value as Json, json};
use testkit::{
    receiver::{Received, Receiver},
    wait::eventually,
};

use crate::support::{Client, World, campaign::DEADLINE, rows::Rows};

/// A webhook that is told of these; answers its id and its secret.
pub async fn hook(client: &Client, receiver: &Receiver, path: &str, filters: &[&str]) -> (String, String) {
    let body = json!({ "webhook": { "url": receiver.url(path), "event_filters": filters } });
    let made = client.made("/webhooks", &body).await;
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// Writes `campaign.paused` this often, as pausing does.
pub async fn tell(w: &World, client: &Client, times: usize) {
    let account = client.account_id.parse().unwrap();
    let campaign = Rows::of(account).campaign;
    let tx = Arc::new(w.db().begin().await.unwrap());
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(account);
    for _ in 0..times {
        outbox::campaign_paused(&scope, &campaign, PauseReason::User, Timestamp::now()).await.unwrap();
    }
    drop(scope);
    tx.commit_shared().await.unwrap();
    w.state().doorbells.webhooks.ring();
}

/// Checks the signature as the specification says; answers the body.
pub fn verified(secret: &str, request: &Received) -> Json {
    let secret = WebhookSecret::parse(&Secret::new(secret.to_owned())).unwrap();
    let sent = request.header("webhook-timestamp").parse().unwrap();
    let signature = secret.sign(request.header("webhook-id"), sent, &request.body);
    assert_eq!(request.header("webhook-signature"), signature);
    assert!((Timestamp::now().seconds() - sent).abs() < 300);
    assert_eq!(request.header("content-type"), "application/json");
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["id"], request.header("webhook-id"));
    body
}

/// Waits until the webhook's deliveries are as wanted.
pub async fn until(client: &Client, id: &str, wanted: impl Fn(&[Json]) -> bool) -> Vec<Json> {
    let path = format!("/webhooks/{id}/deliveries?limit=1000");
    let look = || async {
        let seen = client.seen(&path).await;
        let rows = seen.as_array().unwrap().clone();
        wanted(&rows).then_some(rows)
    };
    match eventually(DEADLINE, look).await {
        Ok(rows) => rows,
        Err(error) => panic!("{error}: {}", client.seen(&path).await),
    }
}

/// The webhook as the list shows it.
pub async fn seen(client: &Client, id: &str) -> Json {
    let all = client.seen("/webhooks").await;
    all.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone()
}

/// Has everything that waits for another try tried now.
pub async fn hurry(w: &World) {
    w.sql("UPDATE webhook_deliveries SET due_at = 0 WHERE state = 'pending'", []).await;
    w.state().doorbells.webhooks.ring();
}
