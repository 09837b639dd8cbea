//! Contacts: found, shown, changed, deleted.

use ampout::{
    clock::Timestamp,
    models::{states::Progress, suppressions},
};
use axum::http::{Method, StatusCode};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::recipients::{campaign, contact, count, enroll, import, scope};
use crate::support::world;

#[tokio::test]
async fn a_contact_is_found_by_its_address_in_any_spelling() {
    world(|w| async move {
        for client in [&w.alice, &w.bob] {
            import(client, &["Jo@Example.com", "al@example.com"]).await;
        }
        let found = w.alice.seen("/contacts?email=JO@example.COM").await;
        assert_eq!(found.as_array().unwrap().len(), 1);
        assert_eq!(found[0]["email"], "Jo@Example.com");
        assert_eq!(w.alice.seen("/contacts").await.as_array().unwrap().len(), 2);
        assert_eq!(w.alice.seen("/contacts?email=").await, json!([]));
        assert_ne!(w.bob.seen("/contacts?email=jo@example.com").await[0]["id"], found[0]["id"]);
        w.alice.get("/contacts?mail=x").await.assert_status_bad_request();
    })
    .await;
}

#[tokio::test]
async fn a_contact_shows_its_enrollments() {
    world(|w| async move {
        let jo = contact(&w.alice, "jo@example.com").await;
        for _ in 0..2 {
            let running = campaign(&w, &w.alice, None).await;
            enroll(&w, &w.alice, running, jo, Progress::Queued).await;
        }
        let sql = "UPDATE campaigns SET deleted_at = 1 WHERE id = (SELECT min(id) FROM campaigns WHERE account_id = $1)";
        // PostgreSQL before 18 has no min(uuid).
        let sql = sql.replace("min(id) FROM campaigns WHERE account_id = $1", "id FROM campaigns WHERE account_id = $1 ORDER BY id LIMIT 1");
        scope(&w, &w.alice).execute(&sql, []).await.unwrap();
        let seen = w.alice.seen(&format!("/contacts/{jo}")).await;
        assert_json_snapshot!("contact_seen", seen, {
            ".id" => "[id]", ".created_at" => "[time]",
            ".enrollments[].id" => "[id]", ".enrollments[].campaign_id" => "[id]",
        });
        w.bob.get(&format!("/contacts/{jo}")).await.assert_status_not_found();
        assert_eq!(w.alice.get("/contacts/x").await.json::<Value>()["code"], "contact_not_found");
    })
    .await;
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_clears_what_is_null() {
    world(|w| async move {
        let jo = contact(&w.alice, "jo@example.com").await;
        let path = format!("/contacts/{jo}");
        let change = json!({"contact": {"first_name": "Jo", "company": "Acme", "custom": {"plan": "pro"}}});
        w.alice.patch(&path, &change).await.assert_status_ok();
        let change = json!({"contact": {"company": null, "last_name": "Doe", "email": " Joe@Example.com"}});
        let changed: Value = w.alice.patch(&path, &change).await.json();
        assert_eq!(changed, w.alice.seen(&path).await);
        let expected = json!({"first_name": "Jo", "last_name": "Doe", "company": null, "custom": {"plan": "pro"},
            "email": "Joe@Example.com", "unsubscribed_at": null, "enrollments": []});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&changed[field], value, "{field}");
        }
        assert_eq!(w.alice.seen("/contacts?email=jo@example.com").await, json!([]));
        let cleared: Value = w.alice.patch(&path, &json!({"contact": {"custom": null}})).await.json();
        assert_eq!(cleared["custom"], json!({}));
    })
    .await;
}

#[tokio::test]
async fn a_patch_is_refused_by_the_first_rule_that_fails() {
    world(|w| async move {
        let jo = contact(&w.alice, "jo@example.com").await;
        contact(&w.alice, "taken@example.com").await;
        contact(&w.bob, "theirs@example.com").await;
        let path = format!("/contacts/{jo}");
        let refused = async |contact: Value| -> Value {
            let answer = w.alice.patch(&path, &json!({ "contact": contact })).await;
            assert!(!answer.status_code().is_success(), "{contact}");
            answer.json()
        };
        assert_eq!(
            refused(json!({"email": "Taken@example.com"})).await["message"],
            "Email has already been taken"
        );
        assert_eq!(
            refused(json!({"email": null, "company": "c".repeat(256), "custom": []})).await["message"],
            "Email can't be blank, Company is too long (maximum is 255 characters), Custom is invalid"
        );
        assert_eq!(
            refused(json!({"unsubscribed_at": null})).await["message"],
            "Unknown field `contact.unsubscribed_at`"
        );
        let other = w.bob.patch(&path, &json!({"contact": {"email": ""}})).await;
        other.assert_status_not_found();
        let free = w.alice.patch(&path, &json!({"contact": {"email": "theirs@example.com"}})).await;
        free.assert_status_ok();
    })
    .await;
}

#[tokio::test]
async fn an_address_changes_only_when_no_enrollment_is_unfinished() {
    world(|w| async move {
        let jo = contact(&w.alice, "jo@example.com").await;
        let running = campaign(&w, &w.alice, None).await;
        enroll(&w, &w.alice, running, jo, Progress::Waiting).await;
        let path = format!("/contacts/{jo}");
        let change = json!({"contact": {"email": "joe@example.com"}});
        let refused = w.alice.patch(&path, &change).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Value>()["code"], "unprocessable");
        let same = json!({"contact": {"email": "jo@example.com", "first_name": "Jo"}});
        w.alice.patch(&path, &same).await.assert_status_ok();
        scope(&w, &w.alice)
            .execute("UPDATE enrollments SET progress = 'finished' WHERE account_id = $1", [])
            .await
            .unwrap();
        w.alice.patch(&path, &change).await.assert_status_ok();
    })
    .await;
}

#[tokio::test]
async fn a_new_address_is_held_against_the_suppressions() {
    world(|w| async move {
        let alice = scope(&w, &w.alice);
        let key = w.state().suppression_key;
        suppressions::unsubscribe(&alice, &key, "gone@example.com", Timestamp::now()).await.unwrap();
        let jo = contact(&w.alice, "jo@example.com").await;
        let path = format!("/contacts/{jo}");
        let to = |email: &str| json!({"contact": {"email": email}});
        let changed: Value = w.alice.patch(&path, &to("Gone@example.com")).await.json();
        assert!(changed["unsubscribed_at"].is_string(), "{changed}");
        let back: Value = w.alice.patch(&path, &to("jo@example.com")).await.json();
        assert_eq!(back["unsubscribed_at"], changed["unsubscribed_at"], "once unsubscribed, always");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_contact_is_gone_its_enrollments_end_and_its_address_is_free() {
    world(|w| async move {
        for client in [&w.alice, &w.bob] {
            let jo = contact(client, "jo@example.com").await;
            let running = campaign(&w, client, None).await;
            enroll(&w, client, running, jo, Progress::Queued).await;
        }
        let jo = w.alice.seen("/contacts").await[0]["id"].clone();
        let path = format!("/contacts/{}", jo.as_str().unwrap());
        w.bob.delete(&path).await.assert_status_not_found();
        let gone: Value = w.alice.delete(&path).await.json();
        assert_eq!(gone, json!({"id": jo, "status": "deleted"}));
        w.alice.get(&path).await.assert_status_not_found();
        w.alice.delete(&path).await.assert_status_not_found();
        let ended = "enrollments WHERE account_id = $1 AND progress = 'finished'";
        assert_eq!(count(&w, &w.alice, ended).await, 1);
        assert_eq!(count(&w, &w.bob, ended).await, 0);
        let imports = w.alice.seen("/contact_imports").await;
        let import_path = format!("/contact_imports/{}", imports[0]["id"].as_str().unwrap());
        let shown = w.alice.seen(&import_path).await;
        assert_eq!((&shown["record_count"], &shown["contact_count"]), (&json!(1), &json!(0)));
        assert_eq!(import(&w.alice, &["jo@example.com"]).await["record_count"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_custom_field_given_twice_is_refused_rather_than_chosen_from() {
    world(|w| async move {
        let jo = contact(&w.alice, "jo@example.com").await;
        let custom = r#"{"plan": "pro", "seats": 1, "plan": "free"}"#;
        let changed =
            (Method::PATCH, format!("/contacts/{jo}"), format!(r#"{{"contact": {{"custom": {custom}}}}}"#));
        let rows =
            format!(r#"[{{"email": "a@example.com"}}, {{"email": "b@example.com", "custom": {custom}}}]"#);
        let body = format!(r#"{{"contact_import": {{"name": "n", "contacts": {rows}}}}}"#);
        for (method, path, body) in [changed, (Method::POST, "/contact_imports".to_owned(), body)] {
            let request = w.server.method(method, &path).authorization_bearer(&w.alice.key);
            let answer = request.bytes(body.into()).add_header("content-type", "application/json").await;
            answer.assert_status_bad_request();
            let message = answer.json::<Value>()["message"].as_str().unwrap().to_owned();
            assert!(message.ends_with("custom.plan` is given twice"), "{message}");
        }
    })
    .await;
}
