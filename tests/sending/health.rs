//! Senders that bounce too much are disabled; enabled again, they begin anew. And nothing of another account is.

use ampout::{clock::Timestamp, sending::health::disable_sick};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{Client, World, campaigns::campaign, world};

/// An active campaign with one credential, by their ids.
async fn active(w: &World, client: &Client) -> (String, String) {
    let campaign = client.made("/campaigns", &campaign("launch")).await["id"].as_str().unwrap().to_owned();
    let id: Uuid = campaign.parse().unwrap();
    w.sql("UPDATE campaigns SET status = 'active' WHERE id = $1", [id.into()]).await;
    let lane = client.credential_of(&campaign).await;
    (campaign, lane)
}

/// What a lane did so many days ago.
async fn did(w: &World, client: &Client, lane: &str, days_ago: i64, sends: i32, bounced: i32) {
    let (account, lane): (Uuid, Uuid) = (client.account_id.parse().unwrap(), lane.parse().unwrap());
    let day = Timestamp::now().day() - days_ago;
    let sql = "INSERT INTO credential_days (smtp_credential_id, day, account_id, sends, bounced) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (smtp_credential_id, day) DO UPDATE SET \
               sends = credential_days.sends + $4, bounced = credential_days.bounced + $5";
    w.sql(sql, [lane.into(), day.into(), account.into(), sends.into(), bounced.into()]).await;
}

async fn enabled_days_ago(w: &World, days: i64) {
    let at = Timestamp::from_day(Timestamp::now().day() - days).micros();
    w.sql("UPDATE smtp_credentials SET enabled_at = $1", [at.into()]).await;
}

async fn sweep(w: &World) -> u32 {
    disable_sick(&w.db(), Timestamp::now()).await.unwrap()
}

async fn shown(client: &Client, campaign: &str, lane: &str) -> Json {
    client.seen(&format!("/campaigns/{campaign}/smtp_credentials/{lane}")).await
}

#[tokio::test]
async fn a_sender_that_bounces_too_much_is_disabled_and_its_campaign_paused() {
    world(|w| async move {
        let (campaign, lane) = active(&w, &w.alice).await;
        let (theirs, other) = active(&w, &w.bob).await;
        enabled_days_ago(&w, 30).await;
        did(&w, &w.bob, &other, 0, 100, 8).await;
        did(&w, &w.alice, &lane, 6, 10, 1).await;
        did(&w, &w.alice, &lane, 0, 9, 9).await;
        assert_eq!(sweep(&w).await, 0, "19 are too few, and 8 of 100 are not more than 8 %");
        did(&w, &w.alice, &lane, 0, 1, 0).await;
        assert_eq!(sweep(&w).await, 1);
        assert_eq!(sweep(&w).await, 0, "once");
        let seen = shown(&w.alice, &campaign, &lane).await;
        assert_eq!((&seen["disabled_reason"], &seen["bounce_rate"]), (&json!("bounce_rate"), &json!(50.0)));
        assert!(seen["disabled_at"].is_string());
        assert_eq!(w.alice.seen(&format!("/campaigns/{campaign}")).await["status"], "paused");
        assert_eq!(w.bob.seen(&format!("/campaigns/{theirs}")).await["status"], "active");
        assert!(shown(&w.bob, &theirs, &other).await["disabled_at"].is_null());
    })
    .await;
}

#[tokio::test]
async fn enabled_again_it_begins_anew_and_its_campaign_stays_paused() {
    world(|w| async move {
        let (campaign, lane) = active(&w, &w.alice).await;
        enabled_days_ago(&w, 30).await;
        did(&w, &w.alice, &lane, 1, 30, 20).await;
        did(&w, &w.alice, &lane, 0, 30, 20).await;
        assert_eq!(sweep(&w).await, 1);
        w.alice.made(&format!("/campaigns/{campaign}/smtp_credentials/{lane}/reenable"), &json!({})).await;
        assert_eq!(sweep(&w).await, 0);
        let seen = shown(&w.alice, &campaign, &lane).await;
        assert_eq!((&seen["disabled_at"], &seen["bounce_rate"]), (&Json::Null, &json!(0.0)));
        assert_eq!(w.alice.seen(&format!("/campaigns/{campaign}")).await["status"], "paused");
        did(&w, &w.alice, &lane, 0, 20, 2).await;
        assert_eq!(sweep(&w).await, 1, "10 % of twenty since then");
    })
    .await;
}

#[tokio::test]
async fn what_was_long_ago_or_before_it_was_enabled_weighs_nothing() {
    world(|w| async move {
        let (_, lane) = active(&w, &w.alice).await;
        enabled_days_ago(&w, 30).await;
        did(&w, &w.alice, &lane, 7, 100, 100).await;
        did(&w, &w.alice, &lane, 0, 20, 1).await;
        assert_eq!(sweep(&w).await, 0);
        enabled_days_ago(&w, 2).await;
        did(&w, &w.alice, &lane, 3, 100, 100).await;
        assert_eq!(sweep(&w).await, 0);
        did(&w, &w.alice, &lane, 2, 20, 20).await;
        assert_eq!(sweep(&w).await, 1);
    })
    .await;
}
