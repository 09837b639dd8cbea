//! `POST /campaigns/:id/dispatch`.

use std::time::Duration;

use ampout::clock::Timestamp;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::world;

#[tokio::test]
async fn a_dispatch_releases_a_batch_or_all_and_wakes_the_lanes() {
    world(|world| async move {
        let (alice, bob) = (&world.alice, &world.bob);
        let (mine, theirs) = (alice.campaign(&json!({})).await, bob.campaign(&json!({})).await);
        alice.enroll(mine, world.import(alice, 5, "x.example").await, 2).await;
        bob.enroll(theirs, world.import(bob, 5, "x.example").await, 2).await;
        let path = format!("/campaigns/{mine}/dispatch");
        let answer = alice.post(&path, &json!({ "batch_number": 2 })).await;
        answer.assert_status(StatusCode::ACCEPTED);
        let body: Json = answer.json();
        assert_eq!(
            (&body["id"], &body["status"], &body["dispatched"]),
            (&json!(mine), &json!("active"), &json!(2))
        );
        assert!(body["first_send_at"].as_str() < body["estimated_finish_at"].as_str(), "{body}");
        assert_eq!(
            world.number("SELECT count(*) FROM smtp_credentials WHERE wake_at IS NOT NULL", []).await,
            1
        );
        assert_eq!(alice.made(&path, &json!({})).await["dispatched"], json!(3));
        for body in [json!({}), json!({ "batch_number": 9 })] {
            let none: Json = alice.post(&path, &body).await.json();
            assert_eq!(none["code"], json!("no_pending_enrollments"));
        }
        assert_eq!(world.number("SELECT count(*) FROM batches WHERE dispatched_at IS NULL", []).await, 3);
        let listed = alice.seen(&format!("/campaigns/{mine}/enrollments")).await;
        assert!(listed.as_array().unwrap().iter().all(|row| row["dispatched_at"].is_string()));
    })
    .await;
}

#[tokio::test]
async fn what_forbids_a_dispatch_is_said_and_changes_nothing() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let path = format!("/campaigns/{campaign}/dispatch");
        alice.enroll(campaign, world.import(alice, 1, "x.example").await, 50).await;
        world.bob.post(&path, &json!({})).await.assert_status(StatusCode::NOT_FOUND);
        world.sql("UPDATE smtp_credentials SET disabled_at = 1", []).await;
        let refused: Json = alice.post(&path, &json!({})).await.json();
        assert_eq!(refused["code"], json!("unprocessable"));
        world.sql("UPDATE smtp_credentials SET disabled_at = NULL", []).await;
        world.sql("UPDATE campaigns SET status = 'paused'", []).await;
        let refused: Json = alice.post(&path, &json!({})).await.json();
        assert_eq!(refused["code"], json!("unprocessable"));
        world.sql("UPDATE campaigns SET status = 'pending'", []).await;
        let account: Uuid = alice.account_id.parse().unwrap();
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 98, 2)";
        world.sql(period, [account.into()]).await;
        let answer = alice.post(&path, &json!({})).await;
        answer.assert_status(StatusCode::PAYMENT_REQUIRED);
        assert_eq!(
            answer.json::<Json>(),
            json!({
                "code": "plan_limit_reached",
                "type": "https://docs.ampout.dev/errors/plan_limit_reached",
                "message": "Plan send limit reached for the current period",
                "details": { "current_period_sends": 98, "monthly_limit": 100, "plan_slug": "free" }
            })
        );
        let unknown = alice.post(&path, &json!({ "batch": 1 })).await;
        unknown.assert_status(StatusCode::BAD_REQUEST);
        assert_eq!(world.number("SELECT count(*) FROM batches WHERE dispatched_at IS NOT NULL", []).await, 0);
    })
    .await;
}

#[tokio::test]
async fn enrollments_of_a_deleted_import_are_not_there_to_be_dispatched() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let path = format!("/campaigns/{campaign}/dispatch");
        let (gone, kept) =
            (world.import(alice, 3, "x.example").await, world.import(alice, 2, "y.example").await);
        alice.enroll(campaign, gone, 50).await;
        alice.delete(&format!("/contact_imports/{gone}")).await.assert_status_ok();
        let none: Json = alice.post(&path, &json!({})).await.json();
        assert_eq!(none["code"], json!("no_pending_enrollments"));
        // Nor when other contacts have got their addresses.
        let again: Vec<Json> = (0..3).map(|n| json!({ "email": format!("c{n}@x.example") })).collect();
        let body = json!({ "contact_import": { "name": "again", "contacts": again } });
        assert_eq!(alice.made("/contact_imports", &body).await["record_count"], json!(3));
        let none: Json = alice.post(&path, &json!({})).await.json();
        assert_eq!(none["code"], json!("no_pending_enrollments"));
        alice.enroll(campaign, kept, 50).await;
        assert_eq!(alice.made(&path, &json!({})).await["dispatched"], json!(2));
    })
    .await;
}

#[tokio::test]
async fn the_estimate_ends_when_the_last_follow_up_is_due() {
    world(|world| async move {
        let step = |position: i64, minutes: i64| {
            json!({ "position": position, "subject": "Hello", "body_html": "<p>Hi</p>", "delay_minutes": minutes })
        };
        let extra = json!({
            "min_wait_seconds": 0, "max_wait_seconds": 0,
            "sequence_steps": [step(1, 30), step(2, 60), step(3, 120)],
        });
        let mut spans = Vec::new();
        for client in [&world.alice, &world.bob] {
            let campaign = client.campaign(&extra).await;
            client.enroll(campaign, world.import(client, 1, "x.example").await, 50).await;
            let body = client.made(&format!("/campaigns/{campaign}/dispatch"), &json!({})).await;
            let time = |name: &str| body[name].as_str().unwrap().parse::<Timestamp>().unwrap();
            spans.push(time("estimated_finish_at").since(time("first_send_at")));
        }
        assert_eq!(spans, [Duration::from_hours(3); 2], "an hour and two, and not the first step's own delay");
    })
    .await;
}
