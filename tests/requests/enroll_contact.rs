//! `POST /campaigns/:campaign_id/enroll_contact`.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::world;

#[tokio::test]
async fn a_contact_joins_the_open_batch_of_its_number() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let path = format!("/campaigns/{campaign}/enroll_contact");
        let contacts = world.contacts_of(world.import(alice, 3, "x.example").await).await;
        let made = alice.post(&path, &json!({ "contact_id": contacts[0] })).await;
        made.assert_status(StatusCode::CREATED);
        let made: Json = made.json();
        let expected =
            json!({ "id": made["id"], "contact_id": contacts[0], "batch_number": 0, "status": "pending" });
        assert_eq!(made, expected);
        let first = json!({ "contact_id": contacts[1], "batch_number": 0, "priority": true });
        alice.made(&path, &first).await;
        assert_eq!(world.number("SELECT undispatched FROM batches", []).await, 2);
        let again = alice.post(&path, &first).await;
        again.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(again.json::<Json>()["code"], json!("contact_already_enrolled"));
        alice.made(&format!("/campaigns/{campaign}/dispatch"), &json!({})).await;
        alice.made(&path, &json!({ "contact_id": contacts[2] })).await;
        assert_eq!(world.number("SELECT count(*) FROM batches WHERE batch_number = 0", []).await, 2);
    })
    .await;
}

#[tokio::test]
async fn who_cannot_be_enrolled_is_refused_with_the_reason() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let path = format!("/campaigns/{campaign}/enroll_contact");
        let contacts = world.contacts_of(world.import(alice, 1, "x.example").await).await;
        let foreign = world.contacts_of(world.import(&world.bob, 1, "x.example").await).await;
        world.sql("UPDATE contacts SET unsubscribed_at = 1 WHERE id = $1", [contacts[0].into()]).await;
        let refused = alice.post(&path, &json!({ "contact_id": contacts[0] })).await;
        let body: Json = refused.json();
        assert_eq!(
            (&body["code"], &body["details"]["reason"]),
            (&json!("unprocessable"), &json!("unsubscribed"))
        );
        for id in [json!(foreign[0]), json!(Uuid::now_v7()), json!("x")] {
            let body: Json = alice.post(&path, &json!({ "contact_id": id, "batch_number": -1 })).await.json();
            assert_eq!(body["code"], json!("contact_not_found"));
        }
        let body: Json = alice.post(&path, &json!({ "batch_number": -1 })).await.json();
        assert_eq!(
            body["message"],
            json!("Contact id can't be blank, Batch number must be greater than or equal to 0")
        );
        assert_eq!(world.number("SELECT count(*) FROM enrollments", []).await, 0);
    })
    .await;
}

#[tokio::test]
async fn above_the_highest_number_of_a_client_there_is_room_for_bulk_enrolling() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let path = format!("/campaigns/{campaign}/enroll_contact");
        let import = world.import(alice, 3, "x.example").await;
        let contacts = world.contacts_of(import).await;
        let highest = json!({ "contact_id": contacts[0], "batch_number": 1_000_000_000 });
        let above = json!({ "contact_id": contacts[0], "batch_number": 1_000_000_001 });
        let refused = alice.post(&path, &above).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Json>()["details"]["errors"][0]["field"], "batch_number");
        alice.made(&path, &highest).await;
        let bulk = json!({ "contact_import_id": import, "batch_size": 1 });
        let enrolled = alice.made(&format!("/campaigns/{campaign}/enroll"), &bulk).await;
        assert_eq!(enrolled["enrolled"], 2, "{enrolled}");
        let last = json!({ "batch_number": 1_000_000_002 });
        let dispatched = alice.made(&format!("/campaigns/{campaign}/dispatch"), &last).await;
        assert_eq!(dispatched["dispatched"], 1, "{dispatched}");
    })
    .await;
}
