//! Webhooks through the API: making, changing, trying, deleting.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use testkit::receiver::{Behaviour::Status, Receiver};

use crate::{
    support::{Client, world},
    webhooks::{hook, tell, verified},
};

async fn refused(client: &Client, webhook: Json) -> String {
    let answer = client.post("/webhooks", &json!({ "webhook": webhook })).await;
    answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
    answer.json::<Json>()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_webhook_is_made_with_a_secret_that_is_shown_once() {
    world(|w| async move {
        let body = json!({"webhook": {"url": "https://example.com/hook?a=b"}});
        let answer = w.alice.post("/webhooks", &body).await;
        answer.assert_status(StatusCode::CREATED);
        let made: Json = answer.json();
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("whsec_"));
        assert_eq!(made["event_filters"], json!(["*"]));
        let seen = w.alice.seen("/webhooks").await;
        let mut without = made.clone();
        without.as_object_mut().unwrap().remove("secret");
        assert_eq!(seen, json!([without]));
        let fields: Vec<_> = seen[0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            fields,
            ["consecutive_failures", "created_at", "disabled_at", "event_filters", "id", "url"]
        );
        assert_eq!(w.bob.seen("/webhooks").await, json!([]));
        let id = made["id"].as_str().unwrap();
        let kept = "SELECT count(*) FROM webhooks WHERE CAST(secret AS text) LIKE '%whsec%'";
        assert_eq!(w.number(kept, []).await, 0, "the secret is kept in clear");
        let rotated = w.alice.made(&format!("/webhooks/{id}/rotate_secret"), &json!({})).await;
        assert_eq!(rotated["id"], id);
        assert_ne!(rotated["secret"], secret.as_str());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_told_to_is_refused() {
    world(|w| async move {
        assert_eq!(refused(&w.alice, json!({})).await, "Url can't be blank");
        assert_eq!(refused(&w.alice, json!({"url": "ftp://example.com"})).await, "Url is invalid");
        let both = json!({"url": "https://u:p@example.com", "event_filters": ["enrollment.sold"]});
        let message = refused(&w.alice, both).await;
        assert_eq!(message, "Url is invalid, Event filters is not included in the list");
        let none = json!({"url": "https://example.com", "event_filters": []});
        assert_eq!(refused(&w.alice, none).await, "Event filters can't be blank");
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        let message = refused(&w.alice, json!({ "url": long })).await;
        assert_eq!(message, "Url is too long (maximum is 2048 characters)");
        let typo =
            w.alice.post("/webhooks", &json!({"webhook": {"url": "https://e.com", "events": []}})).await;
        typo.assert_status(StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn an_account_has_room_for_twenty() {
    world(|w| async move {
        let body = json!({"webhook": {"url": "https://example.com/hook"}});
        for _ in 0..20 {
            w.alice.made("/webhooks", &body).await;
        }
        let message = refused(&w.alice, body["webhook"].clone()).await;
        assert_eq!(message, "Account has the most webhooks it may have (20)");
        w.bob.made("/webhooks", &body).await;
        let first = w.alice.seen("/webhooks?limit=1").await[0]["id"].as_str().unwrap().to_owned();
        w.alice.delete(&format!("/webhooks/{first}")).await.assert_status_ok();
        w.alice.made("/webhooks", &body).await;
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_changed_and_enabled_again() {
    world(|w| async move {
        let made = w.alice.made("/webhooks", &json!({"webhook": {"url": "https://example.com/hook"}})).await;
        let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
        w.sql("UPDATE webhooks SET disabled_at = 1, consecutive_failures = 9, failing_since = 1", []).await;
        let change = json!({"webhook": {"event_filters": ["campaign.paused", "enrollment.sent"]}});
        let changed: Json = w.alice.patch(&path, &change).await.json();
        assert_eq!(changed["event_filters"], json!(["campaign.paused", "enrollment.sent"]));
        assert_eq!(changed["disabled_at"], "1970-01-01T00:00:00Z");
        let wrong = w.alice.patch(&path, &json!({"webhook": {"disabled_at": "2026-01-01T00:00:00Z"}})).await;
        wrong.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let enabled: Json = w.alice.patch(&path, &json!({"webhook": {"disabled_at": null}})).await.json();
        assert_eq!((&enabled["disabled_at"], &enabled["consecutive_failures"]), (&Json::Null, &json!(0)));
        let blank = w.alice.patch(&path, &json!({"webhook": {"url": null}})).await;
        assert_eq!(blank.json::<Json>()["message"], "Url can't be blank");
        let theirs = w.bob.patch(&path, &json!({"webhook": {"url": "ftp://bad"}})).await;
        theirs.assert_status(StatusCode::NOT_FOUND);
        assert_eq!(theirs.json::<Json>()["code"], "webhook_not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_is_sent_at_once_and_listed_and_changes_nothing_else() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Status(200), Status(500)]);
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["enrollment.sent"]).await;
        let path = format!("/webhooks/{id}/test");
        let sent = w.alice.made(&path, &json!({})).await;
        assert_eq!((&sent["event_type"], &sent["attempt"]), (&json!("webhook.test"), &json!(1)));
        assert_eq!((&sent["status_code"], &sent["error"]), (&json!(200), &Json::Null));
        let body = verified(&secret, &receiver.requests("/hook")[0]);
        assert_eq!((&body["type"], &body["id"]), (&json!("webhook.test"), &sent["id"]));
        assert_eq!(body["data"], json!({ "webhook_id": id }));
        let failed = w.alice.made(&path, &json!({})).await;
        assert_eq!((&failed["status_code"], &failed["error"]), (&json!(500), &json!("http_status")));
        assert_eq!(failed["delivered_at"], Json::Null);
        let listed = w.alice.seen(&format!("/webhooks/{id}/deliveries")).await;
        assert_eq!(listed, json!([failed, sent]));
        assert_eq!(w.alice.seen("/webhooks").await[0]["consecutive_failures"], 0);
        assert_eq!(w.number("SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'", []).await, 0);
        w.bob.post(&path, &json!({})).await.assert_status(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_webhook_is_gone_at_once_and_its_rows_go_later() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 3).await;
        tell(&w, &w.bob, 2).await;
        let gone: Json = w.alice.delete(&format!("/webhooks/{id}")).await.json();
        assert_eq!(gone, json!({"id": id, "status": "deleted"}));
        assert_eq!(w.alice.seen("/webhooks").await, json!([]));
        w.alice.get(&format!("/webhooks/{id}/deliveries")).await.assert_status(StatusCode::NOT_FOUND);
        crate::models::removal::remove_all(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM webhooks", []).await, 1);
        assert_eq!(w.number("SELECT count(*) FROM webhook_deliveries", []).await, 2);
    })
    .await;
}
