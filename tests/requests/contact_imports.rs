//! Contact imports in JSON.

use ampout::{clock::Timestamp, models::suppressions};
use axum::http::StatusCode;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::recipients::{contact, count, import, scope};
use crate::support::world;

fn redacted() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_redaction(".**.id", "[id]");
    settings.add_redaction(".**.created_at", "[time]");
    settings
}

#[tokio::test]
async fn an_import_takes_what_it_can_and_reports_the_rest() {
    world(|w| async move {
        import(&w.bob, &["jo@example.com", "new@example.com"]).await;
        import(&w.alice, &["jo@example.com"]).await;
        let body = json!({"contact_import": {"name": "leads", "contacts": [
            {"email": "JO@example.com"},
            {"email": " New@Example.com ", "first_name": "Nia", "last_name": null, "company": "Acme",
             "custom": {"plan": "pro", "seats": 3, "trial": false}},
            {"email": "new@example.com"},
            {"email": "nobody"},
            {"first_name": "No Address"},
            {"email": "long@example.com", "company": "c".repeat(256), "custom": {"a": []}},
            {"email": "plain@example.com"}
        ]}});
        let made = w.alice.made("/contact_imports", &body).await;
        let path = format!("/contact_imports/{}", made["id"].as_str().unwrap());
        let seen = w.alice.seen(&path).await;
        let contacts = w.alice.seen(&format!("{path}/contacts")).await;
        redacted().bind(|| {
            assert_json_snapshot!("import_made", made);
            assert_json_snapshot!("import_seen", seen);
            assert_json_snapshot!("import_contacts", contacts);
        });
    })
    .await;
}

#[tokio::test]
async fn an_import_without_a_valid_row_stores_nothing() {
    world(|w| async move {
        let body = json!({"contact_import": {"name": " ", "contacts": [{"email": "x"}, {"email": ""}]}});
        let answer = w.alice.post("/contact_imports", &body).await;
        answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let refused: Value = answer.json();
        assert_eq!(refused["code"], "validation_failed");
        assert_eq!(
            refused["message"],
            "Name can't be blank, Contacts email is invalid, Contacts email can't be blank"
        );
        assert_eq!(refused["details"]["errors"][2]["field"], "contacts[1].email");
        for nothing in [json!({"name": "n"}), json!({"name": "n", "contacts": []}), json!({"contacts": null})]
        {
            let answer = w.alice.post("/contact_imports", &json!({ "contact_import": nothing })).await;
            answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
            assert_eq!(answer.json::<Value>()["code"], "no_contacts_provided");
        }
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_typo_in_a_row_is_refused_by_its_place() {
    world(|w| async move {
        let cases = [
            (
                json!([{"email": "a@example.com"}, {"emial": "b@example.com"}]),
                "contact_import.contacts[1].emial",
            ),
            (json!([["a@example.com"]]), "contact_import.contacts[0]"),
            (json!({}), "contact_import.contacts"),
        ];
        for (contacts, place) in cases {
            let body = json!({"contact_import": {"name": "n", "contacts": contacts}});
            let answer = w.alice.post("/contact_imports", &body).await;
            answer.assert_status_bad_request();
            assert!(answer.text().contains(place), "{}", answer.text());
        }
    })
    .await;
}

#[tokio::test]
async fn an_import_is_bounded_by_rows_not_by_the_ordinary_body_limit() {
    world(|w| async move {
        let row = json!({"email": "jo@example.com", "custom": {"filler": "x".repeat(100)}});
        let body =
            |rows: usize| json!({"contact_import": {"name": "n", "contacts": vec![row.clone(); rows]}});
        let made = w.alice.made("/contact_imports", &body(10_000)).await;
        assert_eq!((&made["record_count"], &made["skipped"]), (&json!(1), &json!(9_999)));
        let row = json!({});
        let many = json!({"contact_import": {"name": "n", "contacts": vec![row; 50_001]}});
        let refused = w.alice.post("/contact_imports", &many).await;
        refused.assert_status(StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refused.json::<Value>()["code"], "payload_too_large");
    })
    .await;
}

#[tokio::test]
async fn more_rows_than_one_statement_takes_are_all_stored() {
    world(|w| async move {
        let emails: Vec<String> = (0..1_203).map(|n| format!("jo{n}@example.com")).collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let made = import(&w.alice, &emails).await;
        assert_eq!((&made["record_count"], made.get("skipped")), (&json!(1_203), None));
        assert_eq!(import(&w.alice, &emails).await["skipped"], json!(1_203));
        assert_eq!(count(&w, &w.alice, "contacts WHERE account_id = $1").await, 1_203);
        let path = format!("/contact_imports/{}/contacts?limit=1000", made["id"].as_str().unwrap());
        let page = w.alice.get(&path).await;
        let next = page.header("link").to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        assert_eq!(w.alice.seen(&next).await.as_array().unwrap().len(), 203);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_import_is_gone_at_once_and_frees_its_addresses() {
    world(|w| async move {
        let contact_id = contact(&w.alice, "jo@example.com").await;
        let made = w.alice.seen("/contact_imports").await;
        let path = format!("/contact_imports/{}", made[0]["id"].as_str().unwrap());
        w.bob.delete(&path).await.assert_status_not_found();
        assert_eq!(w.bob.get(&path).await.json::<Value>()["code"], "contact_import_not_found");
        let gone: Value = w.alice.delete(&path).await.json();
        assert_eq!(gone, json!({"id": made[0]["id"], "status": "deleted"}));
        for hidden in [path.clone(), format!("{path}/contacts")] {
            assert_eq!(w.alice.get(&hidden).await.json::<Value>()["code"], "contact_import_not_found");
        }
        w.alice.delete(&path).await.assert_status_not_found();
        w.alice.get(&format!("/contacts/{contact_id}")).await.assert_status_not_found();
        assert_eq!(w.alice.seen("/contacts").await, json!([]));
        let again = import(&w.alice, &["Jo@example.com"]).await;
        assert_eq!((&again["record_count"], again.get("skipped")), (&json!(1), None));
        assert_eq!(w.alice.seen("/contacts?email=jo@example.com").await.as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_unsubscribed_comes_back_unsubscribed_in_its_own_account_only() {
    world(|w| async move {
        let alice = scope(&w, &w.alice);
        let key = w.state().suppression_key;
        suppressions::unsubscribe(&alice, &key, "jo@example.com", Timestamp::now()).await.unwrap();
        for client in [&w.alice, &w.bob] {
            import(client, &["Jo@Example.com", "other@example.com"]).await;
        }
        let unsubscribed = "contacts WHERE account_id = $1 AND unsubscribed_at IS NOT NULL";
        assert_eq!(count(&w, &w.alice, unsubscribed).await, 1);
        assert_eq!(count(&w, &w.bob, unsubscribed).await, 0);
    })
    .await;
}
