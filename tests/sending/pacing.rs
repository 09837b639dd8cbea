//! Waits between messages, and what goes before what. The clock is moved by changing rows.

use ampout::clock::Timestamp;
use serde_json::{Value as Json, json};
use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use crate::support::{World, campaign::*, world};

const SECOND: i64 = 1_000_000;

fn paced(sink: &Sink, steps: i32, least: i64, most: i64) -> Json {
    let mut body = campaign(&[credential(sink, "one@sender.test")], steps);
    body["campaign"]["min_wait_seconds"] = json!(least);
    body["campaign"]["max_wait_seconds"] = json!(most);
    body
}

/// Waits until so many went out and the lane was left.
async fn rested(w: &World, sent: i64) {
    let state = "SELECT count(*) FROM deliveries WHERE state = 'sent' \
                 AND NOT EXISTS (SELECT 1 FROM smtp_credentials WHERE holder IS NOT NULL)";
    eventually(DEADLINE, || async { (w.number(state, []).await == sent).then_some(()) }).await.unwrap();
}

/// As if the lane's pause were over.
async fn pause_is_over(w: &World) {
    w.sql("UPDATE smtp_credentials SET next_send_at = 0, wake_at = 0", []).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_rests_between_min_and_max_after_each_message() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let before = Timestamp::now().micros();
        let id = dispatched(&w.alice, &paced(&sink, 1, 600, 900), &addresses("ok", 3)).await;
        for sent in 1..=2 {
            rested(&w, sent).await;
            assert_eq!(sink.count(), u64::try_from(sent).unwrap(), "one at a time");
            let next = w.number("SELECT next_send_at FROM smtp_credentials", []).await;
            let last = w.number("SELECT max(sent_at) FROM deliveries", []).await;
            assert!(next >= before + 600 * SECOND, "not before the least wait");
            assert!(next <= last.max(Timestamp::now().micros()) + 900 * SECOND, "not after the longest wait");
            assert_eq!(w.number("SELECT wake_at FROM smtp_credentials", []).await, next);
            let rows = w.alice.seen(&format!("/campaigns/{id}/enrollments?status=pending")).await;
            assert_eq!(rows[0]["waiting_reason"], "pacing", "{rows}");
            if sent == 1 {
                pause_is_over(&w).await;
            }
        }
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_begins_when_a_message_was_taken_and_not_when_it_was_marked() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        dispatched(&w.alice, &paced(&sink, 1, 600, 600), &addresses("ok", 1)).await;
        hold.reached(DEADLINE).await.unwrap();
        let handed_over = Timestamp::now().micros();
        hold.release();
        rested(&w, 1).await;
        let next = w.number("SELECT next_send_at FROM smtp_credentials", []).await;
        assert!(next >= handed_over + 600 * SECOND, "{} µs too soon", handed_over + 600 * SECOND - next);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_in_trouble_keeps_the_pause_behind_what_it_may_have_sent() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let before = Timestamp::now().micros();
        let people = ["close-after-dot@example.test".to_owned()];
        dispatched(&w.alice, &paced(&sink, 1, 600, 900), &people).await;
        let left = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL AND failures > 0";
        eventually(DEADLINE, || async { (w.number(left, []).await == 1).then_some(()) }).await.unwrap();
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'uncertain'", []).await, 1);
        let next = w.number("SELECT next_send_at FROM smtp_credentials", []).await;
        assert!(next >= before + 600 * SECOND, "the trouble shortened the pause to {} µs", next - before);
        assert_eq!(w.number("SELECT wake_at FROM smtp_credentials", []).await, next);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_handed_nothing_over_has_no_pause_to_keep() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let people = ["close-at-rcpt@example.test".to_owned()];
        dispatched(&w.alice, &paced(&sink, 1, 600, 900), &people).await;
        let left = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL AND failures > 0";
        eventually(DEADLINE, || async { (w.number(left, []).await == 1).then_some(()) }).await.unwrap();
        let next = w.number("SELECT next_send_at FROM smtp_credentials", []).await;
        assert!(next < Timestamp::now().micros() + 300 * SECOND, "it is tried again soon");
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waking_a_lane_does_not_shorten_its_pause() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let id = dispatched(&w.alice, &paced(&sink, 1, 600, 600), &addresses("ok", 2)).await;
        rested(&w, 1).await;
        // Both wake the lane.
        w.alice.made(&format!("/campaigns/{id}/pause"), &json!({})).await;
        w.alice.made(&format!("/campaigns/{id}/resume"), &json!({})).await;
        // The other account's lane is woken later, and goes: the engine has looked since.
        let theirs = dispatched(&w.bob, &paced(&sink, 1, 0, 0), &addresses("bob", 1)).await;
        until_status(&w.bob, &theirs, "completed").await;
        engine.stop().await;
        assert_eq!(sink.messages_to("bob+0@example.test").len(), 1);
        assert_eq!(sink.count(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_up_that_is_due_goes_before_first_steps() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        dispatched(&w.alice, &paced(&sink, 2, 600, 600), &addresses("ok", 3)).await;
        rested(&w, 1).await;
        pause_is_over(&w).await;
        rested(&w, 2).await;
        engine.stop().await;
        let subjects: Vec<_> = sink.messages().iter().map(|message| message.subject().unwrap()).collect();
        assert_eq!(subjects, ["Step 1 for Ada", "Step 2 for Ada"]);
        assert_eq!(
            sink.messages_to("ok+0@example.test").len()
                + sink.messages_to("ok+1@example.test").len()
                + sink.messages_to("ok+2@example.test").len(),
            2
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_that_are_changed_count_from_the_next_claim_of_a_lane_at_work() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterRcpt, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        let id = dispatched(&w.alice, &paced(&sink, 1, 0, 0), &addresses("ok", 60)).await;
        hold.reached(DEADLINE).await.unwrap();
        let slower = json!({ "campaign": { "min_wait_seconds": 600, "max_wait_seconds": 600 } });
        let changed = w.alice.patch(&format!("/campaigns/{id}"), &slower).await;
        assert!(changed.status_code().is_success(), "{}", changed.text());
        hold.release();
        // Fifty had been taken at once, and then one.
        rested(&w, 51).await;
        engine.stop().await;
        assert_eq!(sink.count(), 51);
    })
    .await;
}
