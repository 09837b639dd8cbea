//! All connections of the pool are taken: a clear answer in time, and nothing half done.

use sea_orm::TransactionTrait;
use serde_json::json;

use crate::support::world;

/// As many as the pool of a test has (`support::world`).
const CONNECTIONS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_exhausted_pool_requests_are_refused_for_a_moment_and_change_nothing() {
    world(|w| async move {
        let mut taken = vec![];
        for _ in 0..CONNECTIONS {
            taken.push(w.ctx.db.begin().await.unwrap());
        }
        let body = json!({ "outreach": { "name": "One" } });
        let create = w.server.post("/outreaches").authorization_bearer(&w.alice.key);
        let (made, read, status) = tokio::join!(
            async { create.add_header("Idempotency-Key", "once").json(&body).await },
            w.bob.get("/outreaches"),
            async { w.server.get("/status").await },
        );
        for answer in [&made, &read, &status] {
            assert_eq!(answer.status_code(), 503, "{}", answer.text());
            assert_eq!(answer.json::<serde_json::Value>()["code"], "service_unavailable");
            assert!(answer.header("retry-after").to_str().unwrap().parse::<u32>().unwrap() > 0);
        }
        drop(taken);
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 0);
        assert_eq!(w.number("SELECT count(*) FROM idempotency_keys", []).await, 0, "no 5xx is stored");
        let create = w.server.post("/outreaches").authorization_bearer(&w.alice.key);
        let again = create.add_header("Idempotency-Key", "once").json(&body).await;
        assert_eq!(again.status_code(), 201, "{}", again.text());
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);
    })
    .await;
}
