//! Signing up, the account, its keys.

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::world;

#[tokio::test]
async fn signing_up_gives_an_account_and_a_key_that_works() {
    world(|w| async move {
        let account = w.alice.seen("/account").await;
        assert_eq!(account["email"], "alice@example.com");
        assert_eq!(account["plan_slug"], "free");
        assert_eq!(account["id"], w.alice.account_id.as_str());
        let keys = w.alice.seen("/api_keys").await;
        assert_eq!(keys.as_array().unwrap().len(), 1);
        assert_eq!(keys[0]["label"], "Signup default");
        assert!(w.alice.key.starts_with(keys[0]["prefix"].as_str().unwrap()));
        assert!(keys[0].get("plaintext").is_none());
    })
    .await;
}

#[tokio::test]
async fn an_address_signs_up_once_however_it_is_spelled() {
    world(|w| async move {
        let again = w.server.post("/signup").json(&json!({"email": " ALICE@example.com "})).await;
        again.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let body: Value = again.json();
        assert_eq!(body["code"], "validation_failed");
        assert_eq!(body["message"], "Email has already been taken");
        assert_eq!(
            body["details"]["errors"],
            json!([{"field": "email", "message": "has already been taken"}])
        );
    })
    .await;
}

#[tokio::test]
async fn all_failures_of_a_signup_are_told_at_once() {
    world(|w| async move {
        let answer =
            w.server.post("/signup").json(&json!({"email": "nobody", "name": "n".repeat(256)})).await;
        answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let body: Value = answer.json();
        assert_eq!(body["message"], "Email is invalid, Name is too long (maximum is 255 characters)");
        let typo = w.server.post("/signup").json(&json!({"emial": "x@example.com"})).await;
        typo.assert_status(StatusCode::BAD_REQUEST);
        assert!(typo.text().contains("emial"), "{}", typo.text());
    })
    .await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_at_once() {
    world(|w| async move {
        let made = w.alice.made("/api_keys", &json!({"label": "second", "client_kind": "mcp"})).await;
        assert_eq!(made["client_kind"], "mcp");
        let second = made["plaintext"].as_str().unwrap().to_owned();
        let with_second = || w.server.get("/account").authorization_bearer(&second);
        with_second().await.assert_status_ok();
        let path = format!("/api_keys/{}", made["id"].as_str().unwrap());
        w.bob.delete(&path).await.assert_status_not_found();
        let gone: Value = w.alice.delete(&path).await.json();
        assert_eq!(gone, json!({"id": made["id"], "status": "revoked"}));
        let refused = with_second().await;
        refused.assert_status_unauthorized();
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let unknown: Value = w.alice.delete(&path).await.json();
        assert_eq!(unknown["code"], "api_key_not_found");
    })
    .await;
}

#[tokio::test]
async fn the_last_key_cannot_be_revoked() {
    world(|w| async move {
        let keys = w.alice.seen("/api_keys").await;
        let answer = w.alice.delete(&format!("/api_keys/{}", keys[0]["id"].as_str().unwrap())).await;
        answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json::<Value>()["code"], "cannot_revoke_last_key");
        w.alice.get("/account").await.assert_status_ok();
    })
    .await;
}

#[tokio::test]
async fn an_account_has_at_most_a_hundred_active_keys_however_they_are_asked_for() {
    world(|w| async move {
        let label = |n: usize| json!({"label": format!("key {n}")});
        // The first one came with the account.
        for n in 1..95 {
            w.alice.made("/api_keys", &label(n)).await;
        }
        let (alice, asked): (_, Vec<_>) = (&w.alice, (95..105).map(label).collect());
        let answers = join_all(asked.iter().map(|body| alice.post("/api_keys", body))).await;
        let made = answers.iter().filter(|it| it.status_code() == StatusCode::CREATED).count();
        assert_eq!(made, 5);
        let keys = w.alice.seen("/api_keys?limit=1000").await;
        assert_eq!(keys.as_array().unwrap().len(), 100);
        let refused = w.alice.post("/api_keys", &label(105)).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let body: Value = refused.json();
        assert_eq!(body["code"], "validation_failed");
        assert_eq!(body["message"], "Account has the most API keys it may have (100)");
        // A revoked one makes room, and another account's keys take none.
        let path = format!("/api_keys/{}", keys[0]["id"].as_str().unwrap());
        w.alice.delete(&path).await.assert_status_ok();
        w.alice.made("/api_keys", &label(106)).await;
        w.bob.made("/api_keys", &label(1)).await;
    })
    .await;
}

#[tokio::test]
async fn lists_are_paged_by_the_last_id_and_end_without_a_link() {
    world(|w| async move {
        for n in 0..4 {
            w.alice.made("/api_keys", &json!({"label": format!("key {n}")})).await;
            w.bob.made("/api_keys", &json!({"label": format!("key {n}")})).await;
        }
        let mut path = "/api_keys?limit=2".to_owned();
        let mut labels = vec![];
        loop {
            let page = w.alice.get(&path).await;
            let rows: Value = page.json();
            labels
                .extend(rows.as_array().unwrap().iter().map(|row| row["label"].as_str().unwrap().to_owned()));
            let Some(link) = page.maybe_header("link") else { break };
            let link = link.to_str().unwrap().to_owned();
            path = link.split(['<', '>']).nth(1).unwrap().to_owned();
        }
        assert_eq!(labels, ["key 3", "key 2", "key 1", "key 0", "Signup default"]);
        for bad in ["/api_keys?limit=0", "/api_keys?limit=1001", "/api_keys?after=x", "/api_keys?offset=1"] {
            w.alice.get(bad).await.assert_status_bad_request();
        }
    })
    .await;
}

#[tokio::test]
async fn the_key_is_looked_at_before_the_path() {
    world(|w| async move {
        for path in ["/contact_imports/%ff", "/campaigns/%ff/enrollments", "/contacts/none"] {
            w.server.get(path).await.assert_status_unauthorized();
            w.alice.get(path).await.assert_status_not_found();
        }
        let body: Value = w.alice.get("/contact_imports/%ff").await.json();
        assert_eq!(body["code"], "contact_import_not_found");
    })
    .await;
}
