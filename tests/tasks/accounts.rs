//! Accounts and their keys, by tasks.

use serde_json::{Value as Json, json};

use super::{answer, end_of, prepared, run};
use crate::support::{World, campaign, world};

async fn key_works(w: &World, key: &str) -> bool {
    w.server.get("/account").authorization_bearer(key).await.status_code().is_success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_made_with_a_key_that_works_and_its_address_is_taken_then() {
    world(|w| async move {
        let made = answer(&w, &["account_create", "email:Carol@Example.com", "name:Carol"]).await;
        assert_eq!(made["plan_slug"], "free");
        let key = made["api_key"]["plaintext"].as_str().unwrap();
        let seen: Json = w.server.get("/account").authorization_bearer(key).await.json();
        assert_eq!((&seen["email"], &seen["name"]), (&json!("carol@example.com"), &json!("Carol")));
        let again = run(&w, &["account_create", "email:carol@example.com"]).await;
        assert_eq!(again.refusal(), "error: validation_failed: Email has already been taken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_shown_by_id_and_by_address_with_its_own_numbers() {
    world(|w| async move {
        w.alice.campaign(&json!({})).await;
        w.bob.campaign(&json!({})).await;
        w.bob.campaign(&json!({})).await;
        campaign::import(&w.alice, &campaign::addresses("a", 3)).await;
        campaign::import(&w.bob, &campaign::addresses("a", 5)).await;
        let by_address = answer(&w, &["account_show", "account:ALICE@example.com"]).await;
        let by_id = answer(&w, &["account_show", &format!("account:{}", w.alice.account_id)]).await;
        assert_eq!(by_address, by_id);
        assert_eq!(by_id["campaigns"], json!({"pending": 1, "active": 0, "paused": 0, "completed": 0}));
        assert_eq!(
            (&by_id["contacts"], &by_id["api_keys"], &by_id["monthly_limit"]),
            (&json!(3), &json!(1), &json!(100))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_issued_and_revoked_and_the_last_one_stays() {
    world(|w| async move {
        let account = "account:alice@example.com";
        let issued = answer(&w, &["api_key_issue", account, "label:By the operator", "kind:sdk"]).await;
        let key = issued["plaintext"].as_str().unwrap();
        assert!(key_works(&w, key).await);
        assert_eq!((&issued["label"], &issued["client_kind"]), (&json!("By the operator"), &json!("sdk")));
        let wrong = run(&w, &["api_key_issue", account, "label:x", "kind:root"]).await;
        assert!(wrong.refusal().contains("`kind:root` is wrong, expected `direct`, `mcp` or `sdk`"));

        let id = format!("key:{}", issued["id"].as_str().unwrap());
        let others = run(&w, &["api_key_revoke", "account:bob@example.com", &id]).await;
        assert_eq!(others.refusal(), "error: api_key_not_found: API key not found");
        assert!(key_works(&w, key).await);
        let revoked = answer(&w, &["api_key_revoke", account, &id]).await;
        assert_eq!(revoked, json!({"id": issued["id"], "status": "revoked"}));
        assert!(!key_works(&w, key).await);

        let first = w.alice.seen("/api_keys").await[0]["id"].as_str().unwrap().to_owned();
        let last = run(&w, &["api_key_revoke", account, &format!("key:{first}")]).await;
        assert!(last.refusal().starts_with("error: cannot_revoke_last_key"), "{}", last.err);
        assert!(key_works(&w, &w.alice.key).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_brings_a_fresh_database_up_to_date_by_itself() {
    world(|w| async move {
        let task = prepared(&w, &["account_create", "email:first@example.com", "format:json"]);
        let file = format!("sqlite://{}?mode=rwc", task.path("fresh.sqlite").display());
        let task = task.env("DATABASE_URL", file);
        assert_eq!(end_of(&task).await.json()["plan_slug"], "free");
        assert!(end_of(&task).await.refusal().contains("has already been taken"));
    })
    .await;
}
