//! How the sender's places are shared between lanes whose servers serve and lanes whose servers do not. The slow are held at
//! the sink.

use std::sync::Arc;

use ampout::state::AppState;
use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};
use uuid::Uuid;

use crate::support::{World, campaign::*, world};

/// So many places for all lanes.
fn places(w: &World, most: usize) {
    let state = w.state();
    let mut settings = (*state.settings).clone();
    settings.engine.concurrency = most;
    w.ctx.shared_store.insert(AppState { settings: Arc::new(settings), ..state });
}

/// As if the servers of alice's lanes had failed them.
async fn alice_failed(w: &World) {
    let account: Uuid = w.alice.account_id.parse().unwrap();
    w.sql("UPDATE smtp_credentials SET failures = 3 WHERE account_id = $1", [account.into()]).await;
}

async fn held(w: &World) -> i64 {
    w.number("SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL", []).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_whose_servers_fail_leave_places_to_the_others() {
    world(|w| async move {
        places(&w, 4);
        w.sql("UPDATE plans SET monthly_limit = 1000", []).await;
        let (slow, sink) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        let hold = slow.hold(Point::AfterConnect, Matcher::Any);
        let lanes: Vec<_> = (0..6).map(|n| credential(&slow, &format!("alice{n}@sender.test"))).collect();
        dispatched(&w.alice, &campaign(&lanes, 1), &addresses("ok", 400)).await;
        alice_failed(&w).await;
        let engine = Engine::start(&w.ctx);
        hold.reached(DEADLINE).await.unwrap();
        let people = addresses("bob", 5);
        let theirs = dispatched(&w.bob, &campaign(&[credential(&sink, "bob@sender.test")], 1), &people).await;
        until_status(&w.bob, &theirs, "completed").await;
        assert_eq!((held(&w).await, hold.count()), (1, 1), "one of four places");
        hold.release();
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_served_again_takes_no_place_of_those_that_are_not() {
    world(|w| async move {
        places(&w, 4);
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 3);
        let second = sink.hold(Point::AfterDot, Matcher::recipient(&people[1]));
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "alice@sender.test")], 1), &people).await;
        alice_failed(&w).await;
        let engine = Engine::start(&w.ctx);
        second.reached(DEADLINE).await.unwrap();
        let body = campaign(&[credential(&sink, "bob@sender.test")], 1);
        let theirs = enrolled(&w.bob, &body, &addresses("bob", 2)).await;
        w.sql("UPDATE smtp_credentials SET failures = 3 WHERE holder IS NULL", []).await;
        w.bob.made(&format!("/campaigns/{theirs}/dispatch"), &serde_json::json!({})).await;
        until_status(&w.bob, &theirs, "completed").await;
        second.release();
        until_status(&w.alice, &id, "completed").await;
        let kept = "SELECT count(*) FROM smtp_credentials WHERE failures > 0";
        let forgiven = || async { (w.number(kept, []).await == 0).then_some(()) };
        eventually(DEADLINE, forgiven).await.unwrap();
        engine.stop().await;
    })
    .await;
}
