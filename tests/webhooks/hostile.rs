//! Endpoints that mean no good, or that are merely slow: they cost others nothing, and us a bounded amount.

use std::time::Duration;

use serde_json::json;
use testkit::receiver::{
    Behaviour::{
        self, Close, DripBody, DripHead, Endless, Garbage, Headers, Hold, LongHeader, Reply, Silent, Status,
    },
    Receiver,
};

use super::{hook, seen, tell, until};
use crate::support::{campaign::*, world};

/// What each does, and what is written down about it.
fn hostile() -> Vec<(&'static str, Behaviour, Option<i32>, Option<&'static str>)> {
    let redirect = Reply(307, vec![("location".into(), "/healthy".into())], vec![]);
    let drop = Duration::from_millis(200);
    vec![
        ("/endless", Endless, Some(200), None),
        ("/drip-body", DripBody(drop), Some(200), None),
        ("/redirect", redirect, Some(307), Some("redirect")),
        ("/not-found", Status(404), Some(404), Some("http_status")),
        ("/headers", Headers(10_000), None, Some("protocol_failed")),
        ("/long-header", LongHeader(1_000_000), None, Some("protocol_failed")),
        ("/garbage", Garbage, None, Some("protocol_failed")),
        ("/close", Close, None, Some("protocol_failed")),
        ("/silent", Silent, None, Some("timeout")),
        ("/drip-head", DripHead(drop), None, Some("timeout")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_endpoints_delay_nobody_and_cost_little() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let mut hooks = Vec::new();
        for (path, behaviour, status, error) in hostile() {
            receiver.script(path, [behaviour]);
            hooks.push((hook(&w.alice, &receiver, path, &["*"]).await.0, path, status, error));
        }
        let (healthy, _) = hook(&w.bob, &receiver, "/healthy", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        let engine = Engine::start(&w.ctx);
        // Those that never answer are at work by now, and stay so while the healthy one is told everything.
        for path in ["/silent", "/drip-head"] {
            receiver.wait_for(path, 1, DEADLINE).await.unwrap();
        }
        tell(&w, &w.bob, 50).await;
        until(&w.bob, &healthy, |rows| rows.iter().all(|row| row["attempt"] == 1)).await;
        for (id, path, status, error) in &hooks {
            // The first attempt or, where this comes late, another: all are answered alike.
            let rows = until(&w.alice, id, |rows| rows[0]["attempt"].as_u64() >= Some(1)).await;
            let told = (&rows[0]["status_code"], &rows[0]["error"]);
            assert_eq!(told, (&json!(status), &json!(error)), "{path}");
        }
        engine.stop().await;
        assert_eq!(receiver.requests("/healthy").len(), 50, "a redirect was followed");
        let taken = receiver.written() / (1 << 20);
        assert!(taken < 16, "{taken} MiB of an endless answer were taken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_holds_five_connections_and_no_other_endpoint() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        receiver.script("/slow", [Hold]);
        let (slow, _) = hook(&w.alice, &receiver, "/slow", &["*"]).await;
        let (healthy, _) = hook(&w.alice, &receiver, "/healthy", &["*"]).await;
        let engine = Engine::start(&w.ctx);
        tell(&w, &w.alice, 30).await;
        receiver.wait_for("/slow", 5, DEADLINE).await.unwrap();
        until(&w.alice, &healthy, |rows| rows.iter().all(|row| row["attempt"] == 1)).await;
        assert_eq!(receiver.requests("/slow").len(), 5);
        receiver.release();
        until(&w.alice, &slow, |rows| rows.iter().all(|row| row["delivered_at"].is_string())).await;
        engine.stop().await;
        assert_eq!(receiver.requests("/slow").len(), 30);
        assert_eq!(seen(&w.alice, &slow).await["consecutive_failures"], 0);
    })
    .await;
}
