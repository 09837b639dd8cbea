//! Deliveries and the settling of uncertain ones.

use ampout::crypto::links::open_url;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{World, world};

/// A dispatched enrollment whose first message is uncertain; both accounts have one.
pub struct Uncertain {
    pub campaign: Uuid,
    pub path: String,
    pub enrollment: Uuid,
}

pub async fn uncertain(world: &World) -> Uncertain {
    let mut made = Vec::new();
    for owner in [&world.bob, &world.alice] {
        let account: Uuid = owner.account_id.parse().unwrap();
        let campaign = owner.campaign(&json!({})).await;
        owner.enroll(campaign, world.import(owner, 1, "x.example").await, 50).await;
        owner.made(&format!("/campaigns/{campaign}/dispatch"), &json!({})).await;
        let of = "WHERE campaign_id = $1";
        let lane = world.ids(&format!("SELECT id FROM smtp_credentials {of}"), [campaign.into()]).await[0];
        let enrollment = world.ids(&format!("SELECT id FROM enrollments {of}"), [campaign.into()]).await[0];
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 0, 1)";
        world.sql(period, [account.into()]).await;
        let day = "INSERT INTO credential_days (account_id, smtp_credential_id, day, reserved) VALUES ($1, $2, 7, 1)";
        world.sql(day, [account.into(), lane.into()]).await;
        let sql = "UPDATE enrollments SET progress = 'uncertain', smtp_credential_id = $2 WHERE id = $1";
        world.sql(sql, [enrollment.into(), lane.into()]).await;
        world.sql("UPDATE campaign_totals SET uncertain = 1 WHERE campaign_id = $1", [campaign.into()]).await;
        let delivery = Uuid::now_v7();
        let sql = "INSERT INTO deliveries (id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, \
                   state, message_id, reserved_period, reserved_day, created_at) \
                   VALUES ($1, $2, $3, $4, $5, 1, 'uncertain', 'm@x.example', 0, 7, 0)";
        let values = [delivery, account, campaign, enrollment, lane].map(sea_orm::Value::from);
        world.sql(sql, values).await;
        made.push(Uncertain {
            campaign,
            path: format!("/campaigns/{campaign}/deliveries/{delivery}/resolve"),
            enrollment,
        });
    }
    made.pop().unwrap()
}

async fn spent(world: &World) -> [i64; 5] {
    let account: Uuid = world.alice.account_id.parse().unwrap();
    let mut found = [0; 5];
    let columns = [
        "sends FROM account_periods",
        "reserved FROM account_periods",
        "first_sends FROM credential_days",
        "reserved FROM credential_days",
        "sends FROM credential_days",
    ];
    for (place, column) in found.iter_mut().zip(columns) {
        let sql = format!("SELECT {column} WHERE account_id = $1");
        *place = world.number(&sql, [account.into()]).await;
    }
    found
}

#[tokio::test]
async fn the_list_is_filtered_by_the_words_that_it_shows() {
    world(|world| async move {
        let made = uncertain(&world).await;
        let path = format!("/campaigns/{}/deliveries", made.campaign);
        let rows = world.alice.seen(&format!("{path}?state=uncertain")).await;
        assert_eq!(
            rows,
            json!([{
                "id": rows[0]["id"], "enrollment_id": made.enrollment, "position": 1, "state": "uncertain",
                "attempts": 0, "message_id": "m@x.example", "smtp_reply": null, "sent_at": null,
                "created_at": "1970-01-01T00:00:00Z"
            }])
        );
        assert_eq!(world.alice.seen(&format!("{path}?state=sent")).await, json!([]));
        world.sql("UPDATE deliveries SET state = 'claimed'", []).await;
        assert_eq!(world.alice.seen(&format!("{path}?state=queued")).await[0]["state"], json!("queued"));
        for bad in ["claimed", "gone"] {
            world.alice.get(&format!("{path}?state={bad}")).await.assert_status(StatusCode::BAD_REQUEST);
        }
        world.bob.get(&path).await.assert_status(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn sent_settles_the_message_and_the_next_step_follows() {
    world(|world| async move {
        let (alice, made) = (&world.alice, uncertain(&world).await);
        world.bob.post(&made.path, &json!({ "as": "sent" })).await.assert_status(StatusCode::NOT_FOUND);
        let body = alice.made(&made.path, &json!({ "as": "sent" })).await;
        assert_eq!(body["state"], json!("sent"));
        assert!(body["sent_at"].is_string());
        assert_eq!(spent(&world).await, [1, 0, 1, 0, 1]);
        let shown = alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        let totals = &shown["totals"];
        assert_eq!((&totals["pending"], &totals["sent"]), (&json!(0), &json!(1)));
        assert_eq!((&shown["uncertain"], &shown["status"]), (&json!(0), &json!("active")));
        let row = alice.seen(&format!("/campaigns/{}/enrollments", made.campaign)).await[0].clone();
        assert_eq!((&row["status"], &row["current_step"]), (&json!("sent"), &json!(1)));
        assert!(row["next_send_at"].as_str() > row["sent_at"].as_str(), "{row}");
        assert_eq!(row["waiting_reason"], json!(null));
        let again: Json = alice.post(&made.path, &json!({ "as": "sent" })).await.json();
        assert_eq!(again["code"], json!("unprocessable"));
    })
    .await;
}

#[tokio::test]
async fn an_open_of_the_first_message_settles_it_as_sent() {
    world(|world| async move {
        let (alice, made) = (&world.alice, uncertain(&world).await);
        let keys = world.state().link_keys;
        let pixel = open_url("", &keys, alice.account_id.parse().unwrap(), made.enrollment);
        world.server.method(axum::http::Method::HEAD, &pixel).await.assert_status_ok();
        assert_eq!(spent(&world).await, [0, 1, 0, 1, 0]);
        world.server.get(&pixel).await.assert_status_ok();
        assert_eq!(spent(&world).await, [1, 0, 1, 0, 1]);
        let shown = alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        let totals = &shown["totals"];
        assert_eq!(
            [&totals["pending"], &totals["sent"], &totals["opened"]],
            [&json!(0), &json!(1), &json!(1)]
        );
        assert_eq!((&shown["uncertain"], &shown["status"]), (&json!(0), &json!("active")));
        let row = alice.seen(&format!("/campaigns/{}/enrollments", made.campaign)).await[0].clone();
        assert_eq!((&row["status"], &row["current_step"]), (&json!("opened"), &json!(1)));
        assert!(
            row["sent_at"].is_string() && row["next_send_at"].as_str() > row["sent_at"].as_str(),
            "{row}"
        );
        let theirs = world.number("SELECT count(*) FROM deliveries WHERE state = 'uncertain'", []).await;
        assert_eq!(theirs, 1, "the other account's is still uncertain");
    })
    .await;
}

#[tokio::test]
async fn an_open_says_nothing_of_a_later_message() {
    world(|world| async move {
        let (alice, made) = (&world.alice, uncertain(&world).await);
        world.sql("UPDATE enrollments SET sent_at = 1, status = 'sent', current_step = 1", []).await;
        world.sql("UPDATE deliveries SET position = 2", []).await;
        let keys = world.state().link_keys;
        let pixel = open_url("", &keys, alice.account_id.parse().unwrap(), made.enrollment);
        world.server.get(&pixel).await.assert_status_ok();
        let shown = alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        assert_eq!((&shown["uncertain"], &shown["totals"]["opened"]), (&json!(1), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn a_resend_keeps_the_message_id_and_the_place_of_the_uncertain_one() {
    world(|world| async move {
        let (alice, made) = (&world.alice, uncertain(&world).await);
        for bad in [json!({}), json!({ "as": "lost" })] {
            let refused: Json = alice.post(&made.path, &bad).await.json();
            assert_eq!(refused["code"], json!("validation_failed"));
        }
        let body = alice.made(&made.path, &json!({ "as": "resend" })).await;
        assert_eq!((&body["state"], &body["message_id"]), (&json!("queued"), &json!("m@x.example")));
        assert_eq!(spent(&world).await, [1, 0, 1, 0, 0]);
        let due = "SELECT count(*) FROM enrollments WHERE progress = 'waiting' AND due_at IS NOT NULL AND next_position = 1";
        assert_eq!(world.number(due, []).await, 1);
        let shown = alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        assert_eq!((&shown["uncertain"], &shown["totals"]["pending"]), (&json!(0), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn a_stopped_enrollment_is_settled_as_sent_but_not_sent_again() {
    world(|world| async move {
        let (alice, made) = (&world.alice, uncertain(&world).await);
        world.sql("UPDATE enrollments SET status = 'replied', replied_at = 1", []).await;
        let refused = alice.post(&made.path, &json!({ "as": "resend" })).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        alice.made(&made.path, &json!({ "as": "sent" })).await;
        let row = alice.seen(&format!("/campaigns/{}/enrollments", made.campaign)).await[0].clone();
        assert_eq!((&row["status"], &row["next_send_at"]), (&json!("replied"), &json!(null)));
        let shown = alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        assert_eq!(shown["status"], json!("completed"));
    })
    .await;
}
