//! Two engine processes on one database: no message twice, no limit passed.

use serde_json::Value as Json;
use testkit::{
    child::Child,
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::engine_process;
use crate::support::{World, campaign::*, world};

fn assert_once(sink: &Sink, people: &[String]) {
    for person in people {
        assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
    }
}

/// Ten mailboxes that may send this many a day.
fn ten_lanes(sink: &Sink, daily_limit: u32) -> Vec<Json> {
    let lane = |n| {
        let mut lane = credential(sink, &format!("lane{n}@sender.test"));
        lane["daily_limit"] = daily_limit.into();
        lane
    };
    (0..10).map(lane).collect()
}

/// Two processes with room for half of ten mailboxes each, both of which have mail on the wire when this many mailboxes
/// have.
async fn two_at_work(w: &World, sink: &Sink, mailboxes: usize) -> (Child, Child) {
    let hold = sink.hold(Point::AfterDot, Matcher::Any);
    let start = || engine_process(w).env("ENGINE_CONCURRENCY", "5").start().unwrap();
    let both = (start(), start());
    assert!(mailboxes > 5, "one of them could do that");
    hold.reached_by(mailboxes, DEADLINE).await.unwrap();
    hold.release();
    both
}

/// Waits until so many are recorded, and the others wait for `reason`.
async fn ends_at(w: &World, sink: &Sink, id: &str, sends: u64, reason: &str) {
    sink.wait_for(sends, DEADLINE).await.unwrap();
    let waiting = format!("/campaigns/{id}/enrollments?status=pending&limit=1");
    eventually(DEADLINE, || async {
        let rows = w.alice.seen(&waiting).await;
        let recorded = w.number("SELECT sends FROM account_periods", []).await.unsigned_abs() == sends;
        (recorded && rows[0]["waiting_reason"] == reason).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(sink.count(), sends);
    assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
}

/// Seven mailboxes take thirteen each, and one finds six left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_is_used_up_and_never_passed() {
    world(|w| async move {
        w.sql("UPDATE plans SET monthly_limit = 97", []).await;
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 137);
        let id = dispatched(&w.alice, &campaign(&ten_lanes(&sink, 13), 1), &people).await;
        let _both = two_at_work(&w, &sink, 8).await;
        ends_at(&w, &sink, &id, 97, "plan_limit").await;
        assert_once(&sink, &people);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_passes_its_day() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 97);
        let id = dispatched(&w.alice, &campaign(&ten_lanes(&sink, 7), 1), &people).await;
        let _both = two_at_work(&w, &sink, 10).await;
        ends_at(&w, &sink, &id, 70, "daily_limit").await;
        assert_once(&sink, &people);
        for n in 0..10 {
            let from = format!("lane{n}@sender.test");
            assert_eq!(sink.messages().iter().filter(|message| message.from == from).count(), 7, "{from}");
        }
    })
    .await;
}

/// Each may send from one mailbox at a time, and the first is held at its first message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_send_and_neither_what_the_other_holds() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Connection(1));
        let lanes = [credential(&sink, "one@sender.test"), credential(&sink, "two@sender.test")];
        // One claim takes fifty.
        let people = addresses("ok", 80);
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let one = engine_process(&w).env("ENGINE_CONCURRENCY", "1").start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        let two = engine_process(&w).env("ENGINE_CONCURRENCY", "1").start().unwrap();
        let others = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
        let sent = eventually(DEADLINE, || async { (w.number(others, []).await == 30).then_some(()) }).await;
        assert!(sent.is_ok(), "{}\n{}", one.output(), two.output());
        hold.release();
        until_status(&w.alice, &id, "completed").await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}
