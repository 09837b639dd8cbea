//! Forecasts over HTTP, and what they read; what they make of it is tested beside the simulation.

use std::time::Duration;

use ampout::{
    clock::Timestamp,
    sending::{forecast, prospect},
    tenancy::{Conn, SystemScope},
    views::previews::Forecast,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Client, World,
    campaigns::{campaign, enroll},
    world,
};

fn id(text: &str) -> sea_orm::Value {
    text.parse::<Uuid>().unwrap().into()
}

#[tokio::test]
async fn a_forecast_counts_what_is_queued_waiting_and_not_dispatched() {
    world(|w| async move {
        let mut body = campaign("Spring");
        body["campaign"]["min_wait_seconds"] = json!(0);
        body["campaign"]["max_wait_seconds"] = json!(0);
        let mine = w.alice.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
        let path = format!("/campaigns/{mine}/send_forecast");
        let empty = w.alice.seen(&path).await;
        assert_eq!(
            empty,
            json!({"pending": 0, "total_sends": 0, "first_send_at": null, "estimated_finish_at": null, "days": [],
                "plan_limit_reached_on": null})
        );
        let now = Timestamp::now().micros();
        let (open, dispatched) = (Uuid::now_v7(), Uuid::now_v7());
        for (batch, dispatched_at, undispatched) in [(open, None::<i64>, 3_i64), (dispatched, Some(now), 0)] {
            w.sql(
                "INSERT INTO batches (id, account_id, campaign_id, batch_number, dispatched_at, due_at, undispatched, \
                 created_at) VALUES ($1, $2, $3, 1, $4, $4, $5, 0)",
                [batch.into(), id(&w.alice.account_id), id(&mine), dispatched_at.into(), undispatched.into()],
            )
            .await;
        }
        enroll(&w, &mine, dispatched, "a@example.com", "queued", 1, None).await;
        enroll(&w, &mine, dispatched, "b@example.com", "waiting", 2, Some(now)).await;
        enroll(&w, &mine, dispatched, "c@example.com", "finished", 2, None).await;
        enroll(&w, &mine, dispatched, "d@example.com", "uncertain", 1, None).await;
        let seen = w.alice.seen(&path).await;
        // Three and one first steps, each with its follow-up, and the follow-up that waits.
        assert_eq!((&seen["pending"], &seen["total_sends"]), (&json!(4), &json!(9)));
        let days = seen["days"].as_array().unwrap();
        let sends: Vec<&Value> = days.iter().map(|day| &day["sends"]).collect();
        assert_eq!(sends, [&json!(5), &json!(4)]);
        let lane = w.alice.credential_of(&mine).await;
        assert_eq!(days[1]["by_credential"], json!([{"smtp_credential_id": lane, "sends": 4}]));
        assert_eq!(days[0]["date"].as_str().unwrap(), &seen["first_send_at"].as_str().unwrap()[..10]);
        let strange = w.bob.get(&path).await;
        assert_eq!(strange.json::<Value>()["code"], "campaign_not_found");
    })
    .await;
}

/// A campaign of one step, with three contacts who are not dispatched.
async fn with_three(w: &World, client: &Client) -> Uuid {
    let mut body = campaign("Spring");
    body["campaign"]["min_wait_seconds"] = json!(60);
    body["campaign"]["max_wait_seconds"] = json!(180);
    body["campaign"]["smtp_credentials"][0]["daily_limit"] = json!(10);
    body["campaign"]["sequence_steps"].as_array_mut().unwrap().truncate(1);
    let campaign = client.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
    w.sql(
        "INSERT INTO batches (id, account_id, campaign_id, batch_number, undispatched, created_at) \
         VALUES ($1, $2, $3, 1, 3, 0)",
        [Uuid::now_v7().into(), id(&client.account_id), id(&campaign)],
    )
    .await;
    campaign.parse().unwrap()
}

/// What a forecast says at a time, which decides how many of the waits fit into the day.
async fn foreseen(w: &World, client: &Client, campaign: Uuid, now: Timestamp) -> Value {
    let scope =
        SystemScope::new(Conn::Pool(w.db().pool().clone())).account(client.account_id.parse().unwrap());
    let prospect = prospect::of_campaign(&scope, campaign, now).await.unwrap();
    serde_json::to_value(Forecast::from(forecast::simulate(&prospect))).unwrap()
}

fn sends(seen: &Value) -> Vec<i64> {
    seen["days"].as_array().unwrap().iter().map(|day| day["sends"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_forecast_knows_the_waits_the_day_and_the_plan() {
    world(|w| async move {
        let today = Timestamp::now().day();
        let noon = Timestamp::from_day(today).plus(Duration::from_hours(12));
        let (mine, theirs) = (with_three(&w, &w.alice).await, with_three(&w, &w.bob).await);
        let seen = foreseen(&w, &w.alice, mine, noon).await;
        let time = |name: &str| seen[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        let span = time("estimated_finish_at").since(time("first_send_at"));
        assert_eq!(span, Duration::from_secs(240), "two waits of two minutes on the mean");

        let lane = w.alice.credential_of(&mine.to_string()).await;
        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, first_sends, reserved) \
                   VALUES ($1, $2, $3, 5, 3)";
        w.sql(day, [id(&lane), today.into(), id(&w.alice.account_id)]).await;
        let seen = foreseen(&w, &w.alice, mine, noon).await;
        assert_eq!(sends(&seen), [2, 1], "eight of ten places are taken");
        w.sql("DELETE FROM credential_days", []).await;

        w.sql("DELETE FROM account_periods", []).await;
        w.sql("UPDATE plans SET monthly_limit = 10", []).await;
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 6, 2)";
        w.sql(period, [id(&w.alice.account_id)]).await;
        let seen = foreseen(&w, &w.alice, mine, noon).await;
        assert_eq!(sends(&seen), [2], "eight of ten sends are used");
        assert_eq!(seen["plan_limit_reached_on"], seen["days"][0]["date"]);
        let seen = foreseen(&w, &w.bob, theirs, noon).await;
        assert_eq!((sends(&seen), &seen["plan_limit_reached_on"]), (vec![3], &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn a_forecast_leaves_out_what_a_dispatch_leaves_out_of_a_deleted_import() {
    world(|w| async move {
        for owner in [&w.alice, &w.bob] {
            let campaign = owner.campaign(&json!({})).await;
            let path = format!("/campaigns/{campaign}/send_forecast");
            let (gone, kept) = (w.import(owner, 3, "x.example").await, w.import(owner, 2, "y.example").await);
            owner.enroll(campaign, gone, 50).await;
            assert_eq!(owner.seen(&path).await["pending"], 3);
            owner.delete(&format!("/contact_imports/{gone}")).await.assert_status_ok();
            let seen = owner.seen(&path).await;
            assert_eq!((&seen["pending"], &seen["total_sends"]), (&json!(0), &json!(0)));
            let none: Value = owner.post(&format!("/campaigns/{campaign}/dispatch"), &json!({})).await.json();
            assert_eq!(none["code"], "no_pending_enrollments");
            owner.enroll(campaign, kept, 50).await;
            assert_eq!(owner.seen(&path).await["pending"], 2);
        }
    })
    .await;
}
