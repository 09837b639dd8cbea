//! Two engine processes on one database: no message twice, no limit passed.

use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::engine_process;
use crate::support::{campaign::*, world};

fn assert_once(sink: &Sink, people: &[String]) {
    for person in people {
        assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_is_used_up_and_never_passed() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes: Vec<_> = (0..5).map(|n| credential(&sink, &format!("lane{n}@sender.test"))).collect();
        let people = addresses("ok", 137);
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let _one = engine_process(&w).start().unwrap();
        let _two = engine_process(&w).start().unwrap();
        // The free plan has 100 sends a period.
        sink.wait_for(100, DEADLINE).await.unwrap();
        let waiting = format!("/campaigns/{id}/enrollments?status=pending&limit=1");
        eventually(DEADLINE, || async {
            let rows = w.alice.seen(&waiting).await;
            let recorded = w.number("SELECT sends FROM account_periods", []).await == 100;
            (recorded && rows[0]["waiting_reason"] == "plan_limit").then_some(())
        })
        .await
        .unwrap();
        assert_eq!(sink.count(), 100);
        assert_once(&sink, &people);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_passes_its_day() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes: Vec<_> = (0..5)
            .map(|n| {
                let mut lane = credential(&sink, &format!("lane{n}@sender.test"));
                lane["daily_limit"] = 7.into();
                lane
            })
            .collect();
        let people = addresses("ok", 60);
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let _one = engine_process(&w).start().unwrap();
        let _two = engine_process(&w).start().unwrap();
        sink.wait_for(35, DEADLINE).await.unwrap();
        let waiting = format!("/campaigns/{id}/enrollments?status=pending&limit=1");
        eventually(DEADLINE, || async {
            let rows = w.alice.seen(&waiting).await;
            let recorded = w.number("SELECT sends FROM account_periods", []).await == 35;
            (recorded && rows[0]["waiting_reason"] == "daily_limit").then_some(())
        })
        .await
        .unwrap();
        assert_eq!(sink.count(), 35);
        assert_once(&sink, &people);
        for n in 0..5 {
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
