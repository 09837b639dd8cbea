//! Another secret, another URL, an end: what is begun after the answer goes by it, however much was found before, and what
//! the old URL still says is not held against the new one.

use std::{collections::BTreeSet, time::Duration};

use ampout::{
    clock::Timestamp,
    engine::Process,
    webhooks::{
        attempt::Attempted,
        lanes::{self, Due, Lane},
        recorder::{Ended, Lease, Recorder},
    },
};
use rstest::rstest;
use serde_json::{Value as Json, json};
use testkit::receiver::{Behaviour::Hold, Receiver};
use uuid::Uuid;

use super::{hook, seen, tell, until, verified};
use crate::support::{World, campaign::*, world};

/// Posted at a time; as many as are held at their answer.
const HELD: usize = 5;
/// All that is found by the first look.
const FOUND: usize = 8;

/// A webhook of alice of which five posts are held, and three deliveries are found and wait.
async fn with_held<Fut: Future<Output = ()>>(test: impl FnOnce(World, Receiver, String, String) -> Fut) {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Hold]);
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let (theirs, _) = hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, FOUND).await;
        let engine = Engine::start(&w.ctx);
        receiver.wait_for("/hook", HELD, DEADLINE).await.unwrap();
        test(w.clone(), receiver, id, secret).await;
        engine.stop().await;
        assert!(seen(&w.bob, &theirs).await["disabled_at"].is_null());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_before_the_secret_changed_is_signed_with_the_new_one() {
    with_held(|w, receiver, id, first| async move {
        let rotated = w.alice.made(&format!("/webhooks/{id}/rotate_secret"), &json!({})).await;
        let second = rotated["secret"].as_str().unwrap();
        receiver.release();
        let came = receiver.wait_for("/hook", FOUND, DEADLINE).await.unwrap();
        for (nth, request) in came.iter().enumerate() {
            verified(if nth < HELD { &first } else { second }, request);
        }
        until(&w.alice, &id, |rows| rows.iter().all(|row| row["delivered_at"].is_string())).await;
        assert_eq!(receiver.requests("/hook").len(), FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_before_the_url_changed_goes_to_the_new_one() {
    with_held(|w, receiver, id, secret| async move {
        let moved = json!({ "webhook": { "url": receiver.url("/moved") } });
        w.alice.patch(&format!("/webhooks/{id}"), &moved).await.assert_status_ok();
        receiver.release();
        let came = receiver.wait_for("/moved", FOUND - HELD, DEADLINE).await.unwrap();
        for request in &came {
            verified(&secret, request);
        }
        until(&w.alice, &id, |rows| rows.iter().all(|row| row["delivered_at"].is_string())).await;
        assert_eq!(receiver.requests("/hook").len(), HELD);
    })
    .await;
}

#[rstest]
#[case::deleted(true)]
#[case::disabled(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_before_the_webhook_ended_goes_nowhere(#[case] deleted: bool) {
    with_held(move |w, receiver, id, _| async move {
        if deleted {
            w.alice.delete(&format!("/webhooks/{id}")).await.assert_status_ok();
        } else {
            let disable = "UPDATE webhooks SET disabled_at = 1 WHERE id = $1";
            w.sql(disable, [id.parse::<Uuid>().unwrap().into()]).await;
        }
        receiver.release();
        // By now the lane has heard the answers.
        tell(&w, &w.bob, 1).await;
        receiver.wait_for("/theirs", 1, DEADLINE).await.unwrap();
        if !deleted {
            let recorded = |rows: &[Json]| rows.iter().filter(|row| row["attempt"] == 1).count() == HELD;
            until(&w.alice, &id, recorded).await;
        }
        assert_eq!(receiver.requests("/hook").len(), HELD);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_old_url_is_recorded_and_says_nothing_of_the_new_one() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/old", [Hold]);
        let (id, _) = hook(&w.alice, &receiver, "/old", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        let engine = Engine::start(&w.ctx);
        receiver.wait_for("/old", 1, DEADLINE).await.unwrap();
        let moved = json!({ "webhook": { "url": receiver.url("/new") } });
        w.alice.patch(&format!("/webhooks/{id}"), &moved).await.assert_status_ok();
        w.sql("UPDATE webhooks SET consecutive_failures = 2, failing_since = 1", []).await;
        receiver.release();
        until(&w.alice, &id, |rows| rows[0]["status_code"] == 204).await;
        engine.stop().await;
        assert_eq!(seen(&w.alice, &id).await["consecutive_failures"], 2);
    })
    .await;
}

#[tokio::test]
async fn an_old_url_that_is_gone_disables_nothing_and_the_present_one_does() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, _) = hook(&w.alice, &receiver, "/old", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 2).await;
        let (process, lane, due) = taken(&w).await;
        let moved = json!({ "webhook": { "url": receiver.url("/new") } });
        w.alice.patch(&format!("/webhooks/{id}"), &moved).await.assert_status_ok();
        let (recorder, writer) = Recorder::new(w.db(), process.id);
        let writing = tokio::spawn(writer.run());
        for (due, path, disables) in [(&due[0], "/old", false), (&due[1], "/new", true)] {
            let ended = gone(&lane, due, receiver.url(path));
            let health = recorder.record(lane.webhook_id, vec![ended], Lease::Keep).await.unwrap();
            assert_eq!(health.disabled_at.is_some(), disables, "{path}");
            let of_hook = seen(&w.alice, &id).await;
            assert_eq!(of_hook["disabled_at"].is_string(), disables, "{path}");
            assert_eq!(of_hook["consecutive_failures"], i32::from(disables), "{path}");
        }
        let rows = until(&w.alice, &id, |rows| rows.len() == 2).await;
        assert!(rows.iter().all(|row| row["attempt"] == 1 && row["status_code"] == 410), "{rows:?}");
        drop(recorder);
        writing.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_lane_has_an_endpoint_as_long_as_it_is_held_and_to_be_told() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        let (process, lane, _) = taken(&w).await;
        let url = async |holder| {
            let endpoint = lanes::endpoint(&w.db(), holder, &lane).await.unwrap();
            endpoint.map(|endpoint| endpoint.url)
        };
        assert_eq!(url(process.id).await, Some(receiver.url("/hook")));
        assert_eq!(url(Uuid::now_v7()).await, None, "another's lane");
        w.sql("UPDATE webhooks SET disabled_at = 1", []).await;
        assert_eq!(url(process.id).await, None, "disabled");
        let enabled = json!({ "webhook": { "disabled_at": null, "url": receiver.url("/new") } });
        w.alice.patch(&format!("/webhooks/{id}"), &enabled).await.assert_status_ok();
        assert_eq!(url(process.id).await, Some(receiver.url("/new")));
        w.alice.delete(&format!("/webhooks/{id}")).await.assert_status_ok();
        assert_eq!(url(process.id).await, None, "deleted");
    })
    .await;
}

/// The one lane that has work, held by a process, and what is due on it.
async fn taken(w: &World) -> (Process, Lane, Vec<Due>) {
    let (db, now) = (w.db(), Timestamp::now());
    let process = Process::register(&db, "holder", Duration::from_secs(30)).await.unwrap();
    let free = lanes::free(&db, now).await.unwrap();
    let lane = lanes::take(&db, process.id, &[free[0].webhook_id]).await.unwrap()[0];
    let due = lanes::due(&db, process.id, &lane, &BTreeSet::new(), FOUND, now).await.unwrap().unwrap();
    (process, lane, due)
}

fn gone(lane: &Lane, due: &Due, url: String) -> Ended {
    Ended {
        account_id: lane.account_id,
        webhook_id: lane.webhook_id,
        delivery_id: due.id,
        url,
        tries: due.tries,
        attempts: due.attempts,
        attempted: Attempted {
            status_code: Some(410),
            error: Some("http_status"),
            retry_after: None,
            duration: Duration::from_millis(7),
            began: Timestamp::now(),
        },
        chance: 0.5,
    }
}
