//! At least once, with the same id, signed; again after a failure, and not for ever.

use serde_json::json;
use testkit::receiver::{
    Behaviour::{Hold, Reply, Status},
    Receiver,
};

use super::{hook, hurry, seen, tell, until, verified};
use crate::{
    faults::{engine_process, heir_process},
    support::{campaign::*, world},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_delivery_is_tried_again_under_the_same_id_and_its_attempts_are_kept() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Status(500), Status(302), Status(204)]);
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 1).await;
        for attempt in 1..=3 {
            until(&w.alice, &id, |rows| rows[0]["attempt"] == attempt).await;
            hurry(&w).await;
        }
        engine.stop().await;
        let came = receiver.requests("/hook");
        assert_eq!(came.len(), 3);
        let bodies: Vec<_> = came.iter().map(|request| verified(&secret, request)).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "a body changed");
        let delivery = bodies[0]["id"].as_str().unwrap();
        let detail = w.alice.seen(&format!("/webhooks/{id}/deliveries/{delivery}")).await;
        let attempts: Vec<_> = detail["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["attempt"].clone(), it["status_code"].clone(), it["error"].clone()))
            .collect();
        assert_eq!(
            attempts,
            [
                (json!(1), json!(500), json!("http_status")),
                (json!(2), json!(302), json!("redirect")),
                (json!(3), json!(204), json!(null)),
            ]
        );
        assert_eq!(detail["payload"], bodies[0]);
        assert!(detail["delivered_at"].is_string() && detail["error"].is_null());
        let of_hook = seen(&w.alice, &id).await;
        assert_eq!((&of_hook["consecutive_failures"], &of_hook["disabled_at"]), (&json!(0), &json!(null)));
        let path = format!("/webhooks/{id}/deliveries/{delivery}");
        w.bob.get(&path).await.assert_status_not_found();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_puts_off_its_next_attempt() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Reply(503, vec![("Retry-After".into(), "3600".into())], vec![])]);
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 1).await;
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 1).await;
        engine.stop().await;
        let wait = w.number("SELECT (due_at - created_at) / 1000000 FROM webhook_deliveries", []).await;
        assert!((3_599..7_200).contains(&wait), "{wait} s");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_is_told_nothing_more_until_it_is_enabled() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Status(410), Status(200)]);
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let (theirs, _) = hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 1).await;
        until(&w.alice, &id, |rows| rows[0]["status_code"] == 410).await;
        assert!(seen(&w.alice, &id).await["disabled_at"].is_string());
        assert!(seen(&w.bob, &theirs).await["disabled_at"].is_null());
        tell(&w, &w.alice, 1).await;
        let again = w.alice.post(&redeliver_path(&w.alice, &id).await, &json!({})).await;
        again.assert_status(axum::http::StatusCode::UNPROCESSABLE_ENTITY);
        w.alice.patch(&format!("/webhooks/{id}"), &json!({"webhook": {"disabled_at": null}})).await;
        hurry(&w).await;
        let rows = until(&w.alice, &id, |rows| rows[0]["status_code"] == 200).await;
        engine.stop().await;
        assert_eq!(rows.len(), 1, "what happened while it was disabled was written");
        assert_eq!(seen(&w.alice, &id).await["consecutive_failures"], 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_days_of_nothing_but_failures_disable() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Status(500)]);
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 1).await;
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 1).await;
        let of_hook = seen(&w.alice, &id).await;
        assert_eq!((&of_hook["consecutive_failures"], &of_hook["disabled_at"]), (&json!(1), &json!(null)));
        w.sql("UPDATE webhooks SET failing_since = failing_since - 432000000000", []).await;
        hurry(&w).await;
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 2).await;
        engine.stop().await;
        let of_hook = seen(&w.alice, &id).await;
        assert_eq!(of_hook["consecutive_failures"], 2);
        assert!(of_hook["disabled_at"].is_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tenth_attempt_is_the_last_and_a_redelivery_begins_anew() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Status(500), Status(500), Status(200)]);
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        w.sql("UPDATE webhook_deliveries SET tries = 9, attempts = 9", []).await;
        let engine = Engine::start(&w.ctx);
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 10).await;
        assert_eq!(w.number("SELECT count(*) FROM webhook_deliveries WHERE state = 'failed'", []).await, 1);
        let path = redeliver_path(&w.alice, &id).await;
        let answer = w.alice.post(&path, &json!({})).await;
        answer.assert_status(axum::http::StatusCode::ACCEPTED);
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 11).await;
        hurry(&w).await;
        let rows = until(&w.alice, &id, |rows| rows[0]["attempt"] == 12).await;
        engine.stop().await;
        assert!(rows[0]["delivered_at"].is_string());
        let ids: Vec<_> =
            receiver.requests("/hook").iter().map(|it| verified(&secret, it)["id"].clone()).collect();
        assert_eq!(ids, vec![rows[0]["id"].clone(); 3]);
    })
    .await;
}

async fn redeliver_path(client: &crate::support::Client, id: &str) -> String {
    let rows = client.seen(&format!("/webhooks/{id}/deliveries")).await;
    format!("/webhooks/{id}/deliveries/{}/redeliver", rows[0]["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_signs_what_comes_after_it() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, first) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 1).await;
        until(&w.alice, &id, |rows| rows[0]["attempt"] == 1).await;
        let rotated = w.alice.made(&format!("/webhooks/{id}/rotate_secret"), &json!({})).await;
        let second = rotated["secret"].as_str().unwrap();
        assert_ne!(first, second);
        tell(&w, &w.alice, 1).await;
        let came = receiver.wait_for("/hook", 2, DEADLINE).await.unwrap();
        engine.stop().await;
        verified(&first, &came[0]);
        verified(second, &came[1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_and_no_more_than_five_requests_wait() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        tell(&w, &w.alice, 200).await;
        let engine = Engine::start(&w.ctx);
        until(&w.alice, &id, |rows| rows.iter().all(|row| row["attempt"] == 1)).await;
        engine.stop().await;
        assert_eq!(receiver.requests("/hook").len(), 200);
        assert!(receiver.most_at_a_time() <= 5, "{} at a time", receiver.most_at_a_time());
        assert!(receiver.connections() <= 20, "{} connections for 200", receiver.connections());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_tell_nothing_twice() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (one, _) = hook(&w.alice, &receiver, "/one", &["*"]).await;
        let (two, _) = hook(&w.bob, &receiver, "/two", &["*"]).await;
        tell(&w, &w.alice, 100).await;
        tell(&w, &w.bob, 100).await;
        let engines = [engine_process(&w).start().unwrap(), engine_process(&w).start().unwrap()];
        receiver.wait_for_count(200, DEADLINE).await.unwrap();
        for (client, id) in [(&w.alice, &one), (&w.bob, &two)] {
            until(client, id, |rows| rows.iter().all(|row| row["attempt"] == 1)).await;
        }
        drop(engines);
        for path in ["/one", "/two"] {
            let mut ids: Vec<_> =
                receiver.requests(path).iter().map(|it| it.header("webhook-id").to_owned()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!((ids.len(), receiver.requests(path).len()), (100, 100), "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_waits_for_an_answer_it_sends_the_same_id_again() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/hook", [Hold, Status(204)]);
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        let mut engine = engine_process(&w).start().unwrap();
        receiver.wait_for("/hook", 1, DEADLINE).await.unwrap();
        engine.kill_9().await.unwrap();
        let _again = heir_process(&w).start().unwrap();
        let came = receiver.wait_for("/hook", 2, DEADLINE).await.unwrap();
        assert_eq!(verified(&secret, &came[0]), verified(&secret, &came[1]));
        until(&w.alice, &id, |rows| rows[0]["delivered_at"].is_string()).await;
        assert_eq!(receiver.requests("/hook").len(), 2);
    })
    .await;
}
