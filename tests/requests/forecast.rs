//! Forecasts over HTTP; what they say is tested beside the simulation.

use ampout::clock::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
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
