//! `GET /campaigns/:campaign_id/enrollments`, and what stops them.

use ampout::{
    clock::Timestamp,
    models::enrollments::{Stop, stop_address, stop_one},
    tenancy::{Conn, Scope, SystemScope},
};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use uuid::Uuid;

use crate::support::{World, world};

const STOPPED_AT: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn in_transaction<F: AsyncFnOnce(&Scope)>(world: &World, act: F) {
    let tx = Arc::new(world.db().begin().await.unwrap());
    let account = world.alice.account_id.parse().unwrap();
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(account);
    act(&scope).await;
    drop(scope);
    Arc::into_inner(tx).unwrap().commit().await.unwrap();
}

/// The column of every enrollment, oldest first.
async fn column(world: &World, campaign: Uuid, name: &str) -> Vec<Json> {
    let rows = world.alice.seen(&format!("/campaigns/{campaign}/enrollments")).await;
    rows.as_array().unwrap().iter().rev().map(|row| row[name].clone()).collect()
}

#[tokio::test]
async fn the_list_is_filtered_paged_and_says_what_is_waited_for() {
    world(|world| async move {
        let (alice, bob) = (&world.alice, &world.bob);
        let (campaign, theirs) = (alice.campaign(&json!({})).await, bob.campaign(&json!({})).await);
        bob.enroll(theirs, world.import(bob, 3, "x.example").await, 2).await;
        let import = world.import(alice, 3, "x.example").await;
        alice.enroll(campaign, import, 2).await;
        let path = format!("/campaigns/{campaign}/enrollments");
        let rows = alice.seen(&path).await;
        let last = world.contacts_of(import).await[2];
        assert_eq!(
            rows[0],
            json!({
                "id": rows[0]["id"], "contact_id": last, "smtp_credential_id": null, "status": "pending",
                "batch_number": 2, "current_step": 0, "next_send_at": null, "sent_at": null, "opened_at": null,
                "replied_at": null, "bounced_at": null, "unsubscribed_at": null, "bounce_reason": null,
                "dispatched_at": null, "waiting_reason": "undispatched"
            })
        );
        assert_eq!(alice.seen(&format!("{path}?batch_number=1")).await.as_array().unwrap().len(), 2);
        assert_eq!(alice.seen(&format!("{path}?status=sent")).await, json!([]));
        let page = alice.get(&format!("{path}?limit=2&status=pending")).await;
        let link = page.header("link").to_str().unwrap().to_owned();
        let next = link.trim_start_matches('<').split('>').next().unwrap();
        assert_eq!(alice.seen(next).await.as_array().unwrap().len(), 1);
        alice.get(&format!("{path}?status=gone")).await.assert_status(StatusCode::BAD_REQUEST);
        bob.get(&path).await.assert_status(StatusCode::NOT_FOUND);
        alice.made(&format!("/campaigns/{campaign}/dispatch"), &json!({ "batch_number": 1 })).await;
        let reasons = column(&world, campaign, "waiting_reason").await;
        assert_eq!(reasons, [json!("pacing"), json!("pacing"), json!("undispatched")]);
        alice.made(&format!("/campaigns/{campaign}/pause"), &json!({})).await;
        assert_eq!(column(&world, campaign, "waiting_reason").await[0], json!("paused"));
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribe_stops_everything_of_the_contact_and_counts_once() {
    world(|world| async move {
        let alice = &world.alice;
        let (first, second) = (alice.campaign(&json!({})).await, alice.campaign(&json!({})).await);
        let import = world.import(alice, 2, "x.example").await;
        for campaign in [first, second] {
            alice.enroll(campaign, import, 50).await;
        }
        alice.made(&format!("/campaigns/{first}/dispatch"), &json!({})).await;
        let contact = world.contacts_of(import).await[0];
        let email = alice.seen(&format!("/contacts/{contact}")).await["email"].as_str().unwrap().to_owned();
        for expected in [2, 0] {
            in_transaction(&world, async |scope| {
                let stopped = stop_address(scope, &email, STOPPED_AT).await.unwrap();
                assert_eq!(stopped, expected);
            })
            .await;
        }
        for campaign in [first, second] {
            let totals = alice.seen(&format!("/campaigns/{campaign}")).await["totals"].clone();
            assert_eq!((&totals["pending"], &totals["unsubscribed"]), (&json!(1), &json!(1)), "{totals}");
            assert_eq!(column(&world, campaign, "status").await, [json!("unsubscribed"), json!("pending")]);
        }
        let open = "SELECT sum(undispatched) FROM batches WHERE dispatched_at IS NULL";
        assert_eq!(world.number(&format!("SELECT CAST(({open}) AS bigint)"), []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_status_is_raised_only_and_time_stamps_are_kept() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        alice.enroll(campaign, world.import(alice, 1, "x.example").await, 50).await;
        alice.made(&format!("/campaigns/{campaign}/dispatch"), &json!({})).await;
        let enrollment = world.ids("SELECT id FROM enrollments", []).await[0];
        for stop in [Stop::Bounced { position: 1, reason: "550 no such user".into() }, Stop::Replied] {
            in_transaction(&world, async |scope| {
                stop_one(scope, enrollment, stop, STOPPED_AT).await.unwrap();
            })
            .await;
        }
        let rows = alice.seen(&format!("/campaigns/{campaign}/enrollments")).await;
        assert_eq!(rows[0]["status"], json!("bounced"));
        assert_eq!(rows[0]["bounce_reason"], json!("550 no such user"));
        assert_eq!(
            (&rows[0]["replied_at"], &rows[0]["bounced_at"]),
            (&json!(STOPPED_AT), &json!(STOPPED_AT))
        );
        let shown = alice.seen(&format!("/campaigns/{campaign}")).await;
        let totals = &shown["totals"];
        assert_eq!(
            (&totals["pending"], &totals["bounced"], &totals["replied"]),
            (&json!(0), &json!(1), &json!(1))
        );
        assert_eq!(shown["status"], json!("completed"));
        assert_eq!(shown["rates"]["bounce_rate"], json!(100.0));
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribe_is_kept_of_who_had_answered_or_bounced_and_told_of_the_others() {
    world(|world| async move {
        let alice = &world.alice;
        let import = world.import(alice, 1, "x.example").await;
        world.import(&world.bob, 1, "x.example").await;
        let mut campaigns = Vec::new();
        for _ in 0..4 {
            let campaign = alice.campaign(&json!({})).await;
            alice.enroll(campaign, import, 50).await;
            campaigns.push(campaign);
        }
        let of = "UPDATE enrollments SET status = 'sent', sent_at = 1, progress = 'finished'";
        world.sql(of, []).await;
        let stops = [Some(Stop::Replied), Some(Stop::Bounced { position: 1, reason: "gone".into() }), None];
        for (campaign, stop) in campaigns.iter().zip(stops) {
            let Some(stop) = stop else { continue };
            let enrollment =
                world.ids("SELECT id FROM enrollments WHERE campaign_id = $1", [(*campaign).into()]).await[0];
            in_transaction(&world, async |scope| {
                stop_one(scope, enrollment, stop, STOPPED_AT).await.unwrap();
            })
            .await;
        }
        alice.delete(&format!("/campaigns/{}", campaigns[3])).await.assert_status_ok();
        let hook =
            json!({"webhook": {"url": "https://example.com/u", "event_filters": ["enrollment.unsubscribed"]}});
        alice.made("/webhooks", &hook).await;
        for expected in [3, 0] {
            in_transaction(&world, async |scope| {
                let stopped = stop_address(scope, "c0@x.example", STOPPED_AT).await.unwrap();
                assert_eq!(stopped, expected);
            })
            .await;
        }
        for campaign in &campaigns[..3] {
            let row = alice.seen(&format!("/campaigns/{campaign}/enrollments")).await[0].clone();
            assert_eq!(
                (&row["status"], &row["unsubscribed_at"]),
                (&json!("unsubscribed"), &json!(STOPPED_AT))
            );
            let totals = alice.seen(&format!("/campaigns/{campaign}")).await["totals"].clone();
            assert_eq!(totals["unsubscribed"], json!(1), "{totals}");
        }
        assert_eq!(world.number("SELECT count(*) FROM webhook_deliveries", []).await, 1);
        let of_deleted =
            "SELECT count(*) FROM enrollments WHERE campaign_id = $1 AND unsubscribed_at IS NULL";
        assert_eq!(world.number(of_deleted, [campaigns[3].into()]).await, 1);
    })
    .await;
}
