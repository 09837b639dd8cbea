//! What an account asked for: counted beside the requests, stored in sums, shown to its owner alone.

use ampout::{clock::Timestamp, models::usage, state::AppState, tenancy::SystemScope};
use serde_json::{Value, json};

use crate::support::{Client, World, world};

/// A minute and a little, in microseconds.
const OVER_A_MINUTE: i64 = 61_000_000;

async fn flush(w: &World) {
    let state = w.state();
    state.usage.flush(&state.db, Timestamp::now()).await.unwrap();
}

/// The usage of a client, without what it asked for in order to see it.
async fn shown(w: &World, client: &Client, query: &str) -> Value {
    flush(w).await;
    client.seen(&format!("/usage{query}")).await
}

/// Another key of the account, of a kind.
async fn key_of_kind(client: &Client, kind: &str) -> String {
    let made = client.made("/api_keys", &json!({"label": kind, "client_kind": kind})).await;
    made["plaintext"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn authenticated_requests_of_known_routes_are_summed_by_kind_day_and_route() {
    world(|w| async move {
        let mcp = key_of_kind(&w.alice, "mcp").await;
        for _ in 0..3 {
            w.alice.get("/campaigns/00000000-0000-0000-0000-000000000000").await;
        }
        w.server.get("/account").authorization_bearer(&mcp).await;
        for unseen in [
            w.server.get("/account").await,
            w.server.get("/account").authorization_bearer("ak_live_unknown").await,
            w.server.get("/nowhere").authorization_bearer(&w.alice.key).await,
            w.server.put("/account").authorization_bearer(&w.alice.key).await,
        ] {
            assert!(unseen.status_code().is_client_error());
        }
        let head = w.server.method(axum::http::Method::HEAD, "/account").authorization_bearer(&w.alice.key);
        assert_eq!(head.await.status_code(), 200);
        for _ in 0..9 {
            w.bob.get("/account").await;
        }

        let usage = shown(&w, &w.alice, "").await;
        assert_eq!(usage["total"], 5, "{usage}");
        assert_eq!(usage["by_kind"], json!({"direct": 4, "mcp": 1, "sdk": 0}));
        let days = usage["by_kind_per_day"].as_object().unwrap();
        assert_eq!(days.keys().collect::<Vec<_>>(), ["direct", "mcp"]);
        let direct: i64 =
            days["direct"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
        assert_eq!(direct, 4);
        assert_eq!(
            usage["top_paths"],
            json!([
                {"client_kind": "direct", "method": "GET", "path": "/campaigns/:id", "count": 3},
                {"client_kind": "mcp", "method": "GET", "path": "/account", "count": 1},
                {"client_kind": "direct", "method": "POST", "path": "/api_keys", "count": 1},
            ])
        );
        let again = shown(&w, &w.alice, "").await;
        assert_eq!(again["total"], 6, "seeing it counts too: {again}");
        assert_eq!(shown(&w, &w.bob, "").await["total"], 9);
    })
    .await;
}

#[tokio::test]
async fn a_request_writes_nothing_and_the_use_of_its_key_is_stored_once_a_minute() {
    world(|w| async move {
        let stored = "SELECT count(*) FROM usage_hours";
        let used = "SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL";
        let head = w.server.method(axum::http::Method::HEAD, "/account").authorization_bearer(&w.alice.key);
        assert_eq!(head.await.status_code(), 200);
        flush(&w).await;
        assert_eq!((w.number(stored, []).await, w.number(used, []).await), (0, 0), "HEAD records nothing");
        w.alice.get("/account").await;
        assert_eq!((w.number(stored, []).await, w.number(used, []).await), (0, 0));
        flush(&w).await;
        assert_eq!((w.number(stored, []).await, w.number(used, []).await), (1, 1));

        let last = "SELECT max(last_used_at) FROM api_keys";
        let first = w.number(last, []).await;
        w.alice.get("/account").await;
        flush(&w).await;
        assert_eq!(w.number(last, []).await, first, "a minute has not passed");

        let older = "UPDATE api_keys SET last_used_at = last_used_at - $1 WHERE last_used_at IS NOT NULL";
        w.sql(older, [OVER_A_MINUTE.into()]).await;
        w.alice.get("/account").await;
        flush(&w).await;
        assert!(w.number(last, []).await >= first);
        let keys = w.alice.seen("/api_keys").await;
        assert!(keys[0]["last_used_at"].is_string(), "{keys}");
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_stored_is_kept_and_stored_once() {
    world(|w| async move {
        let state = w.state();
        w.alice.get("/account").await;
        w.sql("ALTER TABLE usage_hours RENAME TO away", []).await;
        assert!(state.usage.flush(&state.db, Timestamp::now()).await.is_err());
        w.alice.get("/account").await;
        w.sql("ALTER TABLE away RENAME TO usage_hours", []).await;
        flush(&w).await;
        flush(&w).await;
        assert_eq!(w.number("SELECT requests FROM usage_hours", []).await, 2);
    })
    .await;
}

#[tokio::test]
async fn processes_add_to_the_same_sums() {
    world(|w| async move {
        w.alice.get("/account").await;
        let mine = w.state();
        let other = AppState { usage: ampout::http::usage::Usage::default(), ..w.state() };
        w.ctx.shared_store.insert(other.clone());
        w.alice.get("/account").await;
        w.alice.get("/account").await;
        let now = Timestamp::now();
        let (one, two) = tokio::join!(mine.usage.flush(&mine.db, now), other.usage.flush(&other.db, now));
        one.unwrap();
        two.unwrap();
        assert_eq!(w.number("SELECT CAST(sum(requests) AS bigint) FROM usage_hours", []).await, 3);
    })
    .await;
}

#[tokio::test]
async fn usage_is_shown_since_days_or_a_time_and_forgotten_after_400_days() {
    world(|w| async move {
        w.alice.get("/account").await;
        flush(&w).await;
        let day = 86_400_000_000_i64;
        for age in [3, 10, 399, 401] {
            let copy = "INSERT INTO usage_hours SELECT account_id, hour - $1, client_kind, method, path, 10 \
                        FROM usage_hours WHERE requests = 1";
            w.sql(copy, [(age * day).into()]).await;
        }
        let count = async |query: &str| w.alice.seen(&format!("/usage{query}")).await["total"].clone();
        assert_eq!([count("").await, count("?since=2d").await], [json!(11), json!(1)]);
        assert_eq!([count("?since=11d").await, count("?since=500d").await], [json!(21), json!(41)]);
        let time = Timestamp::from_micros(Timestamp::now().micros() - 4 * day).to_string();
        let since = w.alice.seen(&format!("/usage?since={time}")).await;
        assert_eq!((since["since"].as_str().unwrap(), &since["total"]), (time.as_str(), &json!(11)));
        assert_eq!(count("?since=2999-01-01").await, json!(0));
        for wrong in ["7", "0d", "x", "", "7d&since=8d", "7d&until=1d"] {
            let refused = w.alice.get(&format!("/usage?since={wrong}")).await;
            assert_eq!(refused.status_code(), 400, "{wrong}");
            assert_eq!(refused.json::<Value>()["code"], "bad_request");
        }

        let sweep = async |system: &SystemScope| usage::purge(system, Timestamp::now(), 1_000).await;
        assert_eq!(SystemScope::in_transaction(&w.db(), sweep).await.unwrap(), 1);
        assert_eq!(SystemScope::in_transaction(&w.db(), sweep).await.unwrap(), 0);
        assert_eq!(count("?since=500d").await, json!(31));
    })
    .await;
}

#[tokio::test]
async fn the_fifty_most_asked_for_operations_are_shown() {
    world(|w| async move {
        w.alice.get("/account").await;
        flush(&w).await;
        for n in 1..=60 {
            let copy = "INSERT INTO usage_hours SELECT account_id, hour, client_kind, method, $1, $2 FROM usage_hours \
                        WHERE path = '/account'";
            w.sql(copy, [format!("/path/{n}").into(), (n + 1).into()]).await;
        }
        let top = w.alice.seen("/usage").await["top_paths"].clone();
        let top = top.as_array().unwrap();
        assert_eq!((top.len(), &top[0]["path"], &top[0]["count"]), (50, &json!("/path/60"), &json!(61)));
        assert_eq!((&top[49]["path"], &top[49]["count"]), (&json!("/path/11"), &json!(12)));
    })
    .await;
}
