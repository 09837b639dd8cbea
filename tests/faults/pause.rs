//! What was stored before the mark stops it; what was marked before goes out, and nothing after it.

use serde_json::json;
use testkit::sink::{Matcher, Point, Sink};

use crate::support::{World, campaign::*, world};

#[derive(Clone, Copy, Debug)]
enum Stop {
    Pause,
    Unsubscribe,
    Delete,
    Disable,
}

async fn stop(w: &World, campaign: &str, how: Stop) {
    match how {
        Stop::Pause => {
            w.alice.made(&format!("/campaigns/{campaign}/pause"), &json!({})).await;
        }
        Stop::Unsubscribe => {
            w.sql("UPDATE contacts SET unsubscribed_at = 1", []).await;
        }
        Stop::Delete => {
            let contacts = w.alice.seen("/contacts").await;
            for contact in contacts.as_array().unwrap() {
                let gone = w.alice.delete(&format!("/contacts/{}", contact["id"].as_str().unwrap())).await;
                gone.assert_status_ok();
            }
        }
        Stop::Disable => {
            w.sql("UPDATE smtp_credentials SET disabled_at = 1, disabled_reason = 'policy'", []).await;
        }
    }
}

async fn held_at(point: Point, how: Stop, arrives: usize) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(point, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", 3);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        hold.reached(DEADLINE).await.unwrap();
        stop(&w, &id, how).await;
        hold.release();
        // The engine finishes what is marked before it stops, so afterwards nothing more can come.
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')";
        testkit::wait::eventually(DEADLINE, || async { (w.number(settled, []).await == 0).then_some(()) })
            .await
            .unwrap();
        engine.stop().await;
        assert_eq!(sink.count(), arrives as u64, "{how:?} at {point:?}");
        let sent = w.number("SELECT count(*) FROM deliveries WHERE state = 'sent'", []).await;
        assert_eq!(usize::try_from(sent).unwrap(), arrives);
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, sent);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
        if matches!(how, Stop::Delete) {
            assert_eq!(w.number("SELECT pending FROM campaign_totals", []).await, 0);
            assert_eq!(w.number("SELECT pending FROM batches", []).await, 0);
        }
    })
    .await;
}

macro_rules! both_orders {
    ($($before:ident, $after:ident, $how:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $before() {
            held_at(Point::AfterRcpt, $how, 0).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $after() {
            held_at(Point::BeforeDataReply, $how, 1).await;
        }
    )+};
}

both_orders! {
    a_pause_before_the_mark_sends_nothing, a_pause_after_the_mark_lets_that_one_out, Stop::Pause;
    an_unsubscribe_before_the_mark_sends_nothing, an_unsubscribe_after_the_mark_lets_that_one_out, Stop::Unsubscribe;
    a_delete_before_the_mark_sends_nothing, a_delete_after_the_mark_lets_that_one_out, Stop::Delete;
    a_disable_before_the_mark_sends_nothing, a_disable_after_the_mark_lets_that_one_out, Stop::Disable;
}
