//! SIGTERM: nothing new is begun, what is claimed is given back, what is marked is finished in its time.

use std::time::{Duration, Instant};

use testkit::{
    child::Child,
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::engine_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 5;

/// Tells it to end, and waits until it begins nothing more.
async fn told_to_end(engine: &mut Child) {
    engine.terminate().unwrap();
    engine.wait_for_output("shutting down", DEADLINE).await.unwrap();
}

async fn states(w: &World) -> (i64, i64, i64) {
    let count = async |state: &str| {
        let sql = "SELECT count(*) FROM deliveries WHERE state = $1";
        w.number(sql, [state.into()]).await
    };
    (count("sent").await, count("uncertain").await, count("queued").await)
}

async fn holds_nothing(w: &World) {
    let held = "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')";
    assert_eq!(w.number(held, []).await, 0);
    assert_eq!(w.number("SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL", []).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_end_finishes_what_is_marked_and_gives_back_the_rest() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let mut engine = engine_process(&w).env("LOG_LEVEL", "info").start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        told_to_end(&mut engine).await;
        hold.release();
        assert!(engine.wait(DEADLINE).await.unwrap().success(), "{}", engine.output());
        assert_eq!((states(&w).await, sink.count()), ((1, 0, 4), 1));
        holds_nothing(&w).await;
        let _again = engine_process(&w).start().unwrap();
        until_status(&w.alice, &id, "completed").await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}

/// Its recipient is offered and not yet taken: nothing is marked, so nothing is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_before_the_mark_keeps_no_process_from_ending() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let hold = sink.hold(Point::AfterRcpt, Matcher::recipient(&people[1]));
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let theirs = dispatched(&w.bob, &campaign(&[credential(&sink, "bob@sender.test")], 1), &people).await;
        let engine = Engine::start(&w.ctx);
        hold.reached_by(2, DEADLINE).await.unwrap();
        let began = Instant::now();
        engine.stop().await;
        // SHUTDOWN_SECONDS is 25, and most of them are for what is marked.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!((states(&w).await, sink.count()), ((2, 0, 8), 2));
        holds_nothing(&w).await;
        hold.release();
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &id, "completed").await;
        until_status(&w.bob, &theirs, "completed").await;
        engine.stop().await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 2, "{person}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_in_its_time_is_uncertain() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let mut engine =
            engine_process(&w).env("LOG_LEVEL", "info").env("SHUTDOWN_SECONDS", "2").start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        told_to_end(&mut engine).await;
        engine.wait(DEADLINE).await.unwrap();
        assert_eq!((states(&w).await, sink.count()), ((0, 1, 4), 1), "{}", engine.output());
        holds_nothing(&w).await;
        assert_eq!(w.alice.seen(&format!("/campaigns/{id}")).await["uncertain"], 1);
    })
    .await;
}

/// A silent server, one that says what is no answer, and one that closes: nobody knows.
#[rstest::rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_dot_without_an_answer_is_uncertain_and_nothing_else_is(
    #[values("silent-after-dot", "garbage-after-dot", "close-after-dot")] local: &'static str,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        // Those that are cut off before the dot could be written are sent again.
        let mut people = addresses("close-at-data-once", 1);
        people.extend(addresses(local, 1));
        people.extend(addresses("ok", 2));
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        dispatched(&w.alice, &body, &people).await;
        let engine = engine_process(&w).env("SMTP_FINAL_REPLY_SECONDS", "1").start().unwrap();
        let ended = eventually(DEADLINE, || async {
            rests_are_over(&w).await;
            (states(&w).await == (3, 1, 0)).then_some(())
        });
        assert!(ended.await.is_ok(), "{:?} {}", states(&w).await, engine.output());
        assert_eq!(sink.count(), 4);
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}
