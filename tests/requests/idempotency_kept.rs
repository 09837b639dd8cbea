//! `Idempotency-Key`: which answers are kept and which are not, and what a replay and a waiting twin cost.

use std::{future::Future, sync::Arc};

use ampout::{
    config::LimitSettings,
    http::{idempotency::Turns, rate_limit::RateLimits},
    state::AppState,
    tenancy::SystemScope,
};
use axum::http::{Method, StatusCode};
use axum_test::{TestRequest, TestResponse};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::wait::eventually;
use uuid::Uuid;

use crate::support::{World, campaign::DEADLINE, world};

fn request(w: &World, method: Method, path: &str, key: &str) -> TestRequest {
    w.server.method(method, path).authorization_bearer(&w.alice.key).add_header("idempotency-key", key)
}

async fn create(w: &World, key: &str) -> TestResponse {
    request(w, Method::POST, "/outreaches", key).json(&json!({"outreach": {"name": "One"}})).await
}

fn replayed(answer: &TestResponse) -> bool {
    answer.maybe_header("idempotent-replayed").is_some_and(|value| value == "true")
}

fn limit(w: &World, per_minute: u32) {
    let settings = LimitSettings { per_minute, signups_per_hour: 5, redis_url: None };
    let limits = RateLimits::new(&settings).unwrap();
    w.ctx.shared_store.insert(AppState { limits, ..w.state() });
}

const KEYS: &str = "SELECT count(*) FROM idempotency_keys";

/// The refusal leaves no trace, and the key is free for the request that is right.
async fn is_not_kept(w: &World, key: &str, status: u16, refused: impl Future<Output = TestResponse>) {
    let answer = refused.await;
    assert_eq!(answer.status_code().as_u16(), status, "{}", answer.text());
    assert_eq!(w.number(KEYS, []).await, 0, "{status} was kept");
    let well = create(w, key).await;
    assert_eq!((well.status_code(), replayed(&well)), (StatusCode::CREATED, false), "after {status}");
    w.sql("DELETE FROM idempotency_keys", []).await;
}

#[tokio::test]
async fn what_the_transport_refuses_is_not_kept_whatever_it_is() {
    world(|w| async move {
        let body = |text: &str| request(&w, Method::POST, "/outreaches", "k").bytes(text.to_owned().into());
        let json = "application/json";
        let large = " ".repeat((1 << 20) + 1);
        is_not_kept(&w, "k", 400, async { body("{").content_type(json).await }).await;
        is_not_kept(&w, "k", 400, async { body("{\"x\":1}").content_type(json).await }).await;
        is_not_kept(&w, "k", 413, async { body(&large).content_type(json).await }).await;
        is_not_kept(&w, "k", 415, async { body("{}").content_type("text/plain").await }).await;
        is_not_kept(&w, "k", 405, async { request(&w, Method::PUT, "/outreaches", "k").await }).await;
        is_not_kept(&w, "k", 404, async { request(&w, Method::POST, "/nowhere", "k").await }).await;
        let nobody = w.server.post("/outreaches").authorization_bearer("ak_live_nobody");
        is_not_kept(&w, "k", 401, async { nobody.add_header("idempotency-key", "k").await }).await;
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 7);
    })
    .await;
}

#[tokio::test]
async fn a_fault_of_ours_and_a_limit_are_not_kept() {
    world(|w| async move {
        w.sql("ALTER TABLE outreaches RENAME TO away", []).await;
        let fault = create(&w, "k").await;
        w.sql("ALTER TABLE away RENAME TO outreaches", []).await;
        is_not_kept(&w, "k", 500, async { fault }).await;
        limit(&w, 1);
        w.alice.get("/account").await.assert_status_ok();
        let limited = create(&w, "k").await;
        limit(&w, 60);
        is_not_kept(&w, "k", 429, async { limited }).await;
    })
    .await;
}

#[tokio::test]
async fn a_used_up_plan_is_kept_as_the_answer() {
    world(|w| async move {
        let campaign = w.alice.campaign(&json!({})).await;
        w.alice.enroll(campaign, w.import(&w.alice, 1, "x.example").await, 50).await;
        let path = format!("/campaigns/{campaign}/dispatch");
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 100, 0)";
        w.sql(period, [w.alice.account_id.parse::<Uuid>().unwrap().into()]).await;
        let first = request(&w, Method::POST, &path, "k").json(&json!({})).await;
        assert_eq!(first.status_code(), StatusCode::PAYMENT_REQUIRED, "{}", first.text());
        let again = request(&w, Method::POST, &path, "k").json(&json!({})).await;
        assert!(!replayed(&first) && replayed(&again));
        assert_eq!((first.status_code(), first.as_bytes()), (again.status_code(), again.as_bytes()));
    })
    .await;
}

#[tokio::test]
async fn a_replay_counts_against_the_rate_limit() {
    world(|w| async move {
        limit(&w, 3);
        let answers = [create(&w, "k").await, create(&w, "k").await, create(&w, "k").await];
        let left: Vec<_> = answers.iter().map(|answer| answer.header("ratelimit")).collect();
        let left: Vec<_> =
            left.iter().map(|value| value.to_str().unwrap().split(';').nth(1).unwrap()).collect();
        assert_eq!(left, ["r=2", "r=1", "r=0"]);
        assert!(replayed(&answers[1]) && replayed(&answers[2]));
        let refused = create(&w, "k").await;
        assert_eq!((refused.status_code(), replayed(&refused)), (StatusCode::TOO_MANY_REQUESTS, false));
    })
    .await;
}

async fn table(w: &World, query: &str, text: &str) -> TestResponse {
    let path = format!("/contact_imports{query}");
    request(w, Method::POST, &path, "k").bytes(text.to_owned().into()).content_type("text/csv").await
}

#[tokio::test]
async fn what_a_table_is_refused_with_is_kept() {
    world(|w| async move {
        for (query, text, code) in [
            ("?name=n", "first_name\nAda\n", "validation_failed"),
            ("", "email\nada@example.com\n", "validation_failed"),
            ("?name=n", "email\n", "no_contacts_provided"),
            ("?name=n", "", "validation_failed"),
        ] {
            let first = table(&w, query, text).await;
            assert_eq!(first.json::<Value>()["code"], code, "{}", first.text());
            assert!(!replayed(&first));
            let again = table(&w, query, text).await;
            assert!(replayed(&again), "{text:?}: {}", again.text());
            assert_eq!((first.status_code(), first.as_bytes()), (again.status_code(), again.as_bytes()));
            // Another header, another query, another body that is well.
            for (query, text) in
                [("?name=n", "last_name\nAda\n"), ("?name=m", text), ("?name=n", "email\na@example.com\n")]
            {
                let other = table(&w, query, text).await;
                assert_eq!(other.json::<Value>()["code"], "idempotency_conflict", "{query} {text:?}");
            }
            assert_eq!(w.number(KEYS, []).await, 1);
            w.sql("DELETE FROM idempotency_keys", []).await;
        }
        for (query, text, status) in
            [("?nmae=n", "email\na@example.com\n", 400), ("?name=n&x=1", "email\n", 400)]
        {
            assert_eq!(table(&w, query, text).await.status_code().as_u16(), status);
            assert_eq!(w.number(KEYS, []).await, 0);
        }
    })
    .await;
}

/// The id of a key's row, as `http::idempotency` makes it.
fn id_of(account: &str, key: &str) -> Uuid {
    let account: Uuid = account.parse().unwrap();
    let digest = Sha256::new().chain_update(account.as_bytes()).chain_update(key).finalize();
    uuid::Builder::from_custom_bytes(digest[..16].try_into().unwrap()).into_uuid()
}

/// More than the pool has connections.
const TWINS: usize = 12;

/// Has twins wait for as long as this test may take.
fn wait_long(w: &World) {
    w.ctx.shared_store.insert(AppState { turns: Turns::waiting(3 * DEADLINE), ..w.state() });
}

/// The API serves while all of them wait, and they are served when `release` was done.
async fn wait_without_a_connection(w: &World, release: impl Future<Output = ()>) {
    let twins = (0..TWINS).map(|n| {
        let w = w.clone();
        async move { create(&w, &format!("k{n}")).await }
    });
    let others = async {
        // Each that is served meanwhile needs a connection, and would be refused after five seconds without one.
        for _ in 0..30 {
            let served = w.alice.get("/account").await;
            assert_eq!(served.status_code(), StatusCode::OK, "{}", served.text());
        }
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 0, "they do not wait");
        release.await;
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(twins), others);
    for answer in &answers {
        assert_eq!(answer.status_code(), StatusCode::CREATED, "{}", answer.text());
    }
    assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, i64::try_from(TWINS).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_of_a_run_that_is_held_elsewhere_waits_without_a_connection() {
    world(|w| async move {
        wait_long(&w);
        for n in 0..TWINS {
            create(&w, &format!("k{n}")).await;
        }
        w.sql("UPDATE idempotency_keys SET status = NULL, locked_until = 9000000000000000", []).await;
        w.sql("DELETE FROM outreaches", []).await;
        wait_without_a_connection(&w, async {
            w.sql("DELETE FROM idempotency_keys", []).await;
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_of_another_process_waits_for_its_lock_without_a_connection() {
    world(|w| async move {
        if w.ctx.db.get_database_backend() != DbBackend::Postgres {
            return; // SQLite has one writer: who has begun is alone.
        }
        wait_long(&w);
        let other = Arc::new(w.db().begin().await.unwrap());
        let system = SystemScope::new(ampout::tenancy::Conn::Tx(Arc::clone(&other)));
        for n in 0..TWINS {
            let (lock, _) = id_of(&w.alice.account_id, &format!("k{n}")).as_u64_pair();
            let sql = "SELECT pg_advisory_xact_lock($1) IS NULL AS held";
            system.query_one(sql, [lock.cast_signed().into()]).await.unwrap();
        }
        drop(system);
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually(DEADLINE, || async { (w.number(held, []).await == 12).then_some(()) }).await.unwrap();
        wait_without_a_connection(&w, async move {
            other.commit_shared().await.unwrap();
        })
        .await;
    })
    .await;
}

/// A list, short or long, is looked at before its transaction begins: its key has the first word all the same.
#[tokio::test]
async fn a_list_answers_to_its_key_whatever_its_length_and_whether_or_not_it_can_be_imported() {
    world(|w| async move {
        let list = |from: usize, to: usize| {
            let contacts: Vec<Value> =
                (from..to).map(|n| json!({ "email": format!("p{n}@x.example") })).collect();
            json!({ "contact_import": { "name": "list", "contacts": contacts } })
        };
        let post = async |key: &str, body: &Value| {
            request(&w, Method::POST, "/contact_imports", key).json(body).await
        };
        let bodies = [("short", list(0, 3), 201), ("long", list(3, 2_700), 201), ("wrong", list(0, 0), 422)];
        for (key, body, status) in &bodies {
            let (first, again) = (post(key, body).await, post(key, body).await);
            for answer in [&first, &again] {
                assert_eq!(answer.status_code().as_u16(), *status, "{key}: {}", answer.text());
            }
            assert_eq!(
                (replayed(&first), replayed(&again), first.text()),
                (false, true, again.text()),
                "{key}"
            );
        }
        for (key, ..) in &bodies {
            for (_, other, _) in bodies.iter().filter(|(of, ..)| of != key) {
                let answer = post(key, other).await;
                let refused: Value = answer.json();
                assert_eq!(refused["code"], "idempotency_conflict", "{key}: {refused}");
            }
        }
        let stored = "SELECT count(*) FROM contact_imports";
        assert_eq!(w.number(stored, []).await, 2, "what was answered before is not stored, not even hidden");
        assert_eq!(w.bob.seen("/contact_imports").await, json!([]));
    })
    .await;
}
