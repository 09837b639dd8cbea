//! Started enrollments leave a lane that is closed for good, and not before.

use ampout::clock::Timestamp;
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};

use crate::support::{World, campaign::*, world};

const DAY: i64 = 24 * 3_600 * 1_000_000;

/// A campaign of two lanes whose first step went out by the first, and whose second step waits.
async fn started(w: &World, sink: &Sink) -> (String, Vec<Json>) {
    let lanes = [credential(sink, "one@sender.test"), credential(sink, "two@sender.test")];
    let mut body = campaign(&lanes, 2);
    body["campaign"]["sequence_steps"][1]["delay_minutes"] = json!(1440);
    let id = enrolled(&w.alice, &body, &addresses("ok", 2)).await;
    let lanes = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await.as_array().unwrap().clone();
    let engine = Engine::start(&w.ctx);
    w.alice.made(&format!("/campaigns/{id}/dispatch"), &json!({})).await;
    let sent = "SELECT count(*) FROM deliveries WHERE state = 'sent' \
                AND NOT EXISTS (SELECT 1 FROM smtp_credentials WHERE holder IS NOT NULL)";
    eventually(DEADLINE, || async { (w.number(sent, []).await == 2).then_some(()) }).await.unwrap();
    engine.stop().await;
    let first: uuid::Uuid = lanes[0]["id"].as_str().unwrap().parse().unwrap();
    w.sql("UPDATE enrollments SET smtp_credential_id = $1", [first.into()]).await;
    (id, lanes)
}

async fn waiting_on(w: &World, lane: &Json) -> i64 {
    let id: uuid::Uuid = lane["id"].as_str().unwrap().parse().unwrap();
    let sql = "SELECT count(*) FROM enrollments WHERE smtp_credential_id = $1 AND progress = 'waiting'";
    w.number(sql, [id.into()]).await
}

async fn disable(w: &World, lane: &Json, at: i64) {
    let id: uuid::Uuid = lane["id"].as_str().unwrap().parse().unwrap();
    let sql = "UPDATE smtp_credentials SET disabled_at = $1, disabled_reason = 'policy' WHERE id = $2";
    w.sql(sql, [at.into(), id.into()]).await;
}

async fn enable(w: &World, lane: &Json) {
    let id: uuid::Uuid = lane["id"].as_str().unwrap().parse().unwrap();
    w.sql(
        "UPDATE smtp_credentials SET disabled_at = NULL, disabled_reason = NULL WHERE id = $1",
        [id.into()],
    )
    .await;
}

async fn moved(w: &World) -> u64 {
    ampout::sending::stranded::move_stranded(&w.db(), Timestamp::now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_started_waits_a_day_for_a_disabled_lane_and_then_moves_once() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (_, lanes) = started(&w, &sink).await;
        let now = Timestamp::now().micros();
        disable(&w, &lanes[0], now - DAY + 3_600_000_000).await;
        assert_eq!((moved(&w).await, waiting_on(&w, &lanes[0]).await), (0, 2));
        disable(&w, &lanes[0], now - DAY - 1).await;
        assert_eq!((moved(&w).await, waiting_on(&w, &lanes[1]).await), (2, 2));
        // Not again: the other one fails as well, and the first is back.
        enable(&w, &lanes[0]).await;
        disable(&w, &lanes[1], now - 2 * DAY).await;
        assert_eq!((moved(&w).await, waiting_on(&w, &lanes[1]).await), (0, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_started_leaves_a_deleted_lane_at_once_and_goes_out_by_the_other() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (id, lanes) = started(&w, &sink).await;
        let path = format!("/campaigns/{id}/smtp_credentials/{}", lanes[0]["id"].as_str().unwrap());
        let gone = w.alice.delete(&path).await;
        assert!(gone.status_code().is_success(), "{}", gone.text());
        w.sql("UPDATE enrollments SET due_at = 0", []).await;
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        let second: Vec<_> = sink
            .messages()
            .into_iter()
            .filter(|message| message.subject().as_deref() == Some("Step 2 for Ada"))
            .collect();
        assert_eq!(second.len(), 2);
        assert!(second.iter().all(|message| lanes[1]["from_email"] == message.from.as_str()));
    })
    .await;
}
