//! Started enrollments leave a lane that is closed for good, and not before.

use ampout::{clock::Timestamp, sending::stranded};
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};

use crate::support::{World, campaign::*, held::Held, world};

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
    stranded::move_stranded(&w.db(), Timestamp::now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_started_waits_a_day_for_a_disabled_lane_and_then_moves_once() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (_, lanes) = started(&w, &sink).await;
        let now = Timestamp::now().micros();
        disable(&w, &lanes[0], now - DAY + 3_600_000_000).await;
        w.sql("UPDATE smtp_credentials SET wake_at = NULL", []).await;
        assert_eq!((moved(&w).await, waiting_on(&w, &lanes[0]).await), (0, 2));
        let woken = "SELECT count(*) FROM smtp_credentials WHERE wake_at IS NOT NULL";
        assert_eq!(w.number(woken, []).await, 0, "there is nothing to look at yet");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_goes_where_somebody_looks_soonest() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (id, lanes) = started(&w, &sink).await;
        let path = format!("/campaigns/{id}/smtp_credentials");
        let third = json!({ "smtp_credential": credential(&sink, "three@sender.test") });
        let third = w.alice.made(&path, &third).await;
        disable(&w, &lanes[0], 1).await;
        // Nobody looks at the second.
        w.sql("UPDATE smtp_credentials SET wake_at = NULL", []).await;
        let third_id: uuid::Uuid = third["id"].as_str().unwrap().parse().unwrap();
        w.sql("UPDATE smtp_credentials SET wake_at = 1 WHERE id = $1", [third_id.into()]).await;
        assert_eq!((moved(&w).await, waiting_on(&w, &third).await), (2, 2));
    })
    .await;
}

/// It was enabled and disabled again after it had been found, before its campaign was locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_stays_on_a_lane_whose_day_began_anew() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (id, lanes) = started(&w, &sink).await;
        let now = Timestamp::now().micros();
        disable(&w, &lanes[0], now - 2 * DAY).await;
        let held = Held::begin(&w).await;
        let Some(held) = held else {
            disable(&w, &lanes[0], now).await;
            assert_eq!((moved(&w).await, waiting_on(&w, &lanes[0]).await), (0, 2));
            return;
        };
        let campaign: uuid::Uuid = id.parse().unwrap();
        let lock = "SELECT id FROM campaigns WHERE id = $1 FOR UPDATE";
        held.system.query(lock, [campaign.into()]).await.unwrap();
        let looking = async {
            held.is_waited_for(&w).await;
            disable(&w, &lanes[0], now).await;
            held.commit().await;
        };
        let db = w.db();
        // It may have given up before it was let go.
        let (moving, ()) = tokio::join!(stranded::move_stranded(&db, Timestamp::now()), looking);
        assert_eq!((moving.unwrap_or(0), waiting_on(&w, &lanes[0]).await), (0, 2));
    })
    .await;
}
