//! Limits on requests: what is announced, what is refused and when, and that accounts and nodes are told apart.

use ampout::{config::LimitSettings, http::rate_limit::RateLimits, state::AppState};
use axum::http::{Method, StatusCode};
use axum_test::TestResponse;
use serde_json::{Value, json};

use crate::support::{World, world};

/// Has this world take so many requests of a key in a minute, and so many signups in an hour.
fn limit(w: &World, per_minute: u32, signups_per_hour: u32) {
    let settings = LimitSettings { per_minute, signups_per_hour, redis_url: None };
    let limits = RateLimits::new(&settings).unwrap();
    w.ctx.shared_store.insert(AppState { limits, ..w.state() });
}

fn header(answer: &TestResponse, name: &str) -> Option<String> {
    answer.maybe_header(name).map(|value| value.to_str().unwrap().to_owned())
}

/// How many requests are left, of an answer that announces it as the contract says.
#[track_caller]
fn left(answer: &TestResponse, quota: u32) -> u32 {
    assert_eq!(header(answer, "ratelimit-policy"), Some(format!("\"key\";q={quota};w=60")));
    let standing = header(answer, "ratelimit").unwrap();
    let (left, reset) = standing.strip_prefix("\"key\";r=").unwrap().split_once(";t=").unwrap();
    assert!((1..=60).contains(&reset.parse::<u32>().unwrap()), "{standing}");
    left.parse().unwrap()
}

#[tokio::test]
async fn every_answer_to_a_key_says_what_is_left_whatever_it_answers() {
    world(|w| async move {
        limit(&w, 60, 5);
        let large = vec![b' '; (1 << 20) + 1];
        let post = |path: &str, kind: &str, body: Vec<u8>| {
            let request = w.server.method(Method::POST, path).authorization_bearer(&w.alice.key);
            request.bytes(body.into()).add_header("content-type", kind)
        };
        let answers = [
            w.alice.get("/account").await,
            w.alice.get("/account?x=1").await,
            w.alice.get("/campaigns/x").await,
            post("/api_keys", "application/json", large).await,
            post("/api_keys", "text/plain", b"{}".to_vec()).await,
            post("/api_keys", "application/json", b"{\"label\":\"\"}".to_vec()).await,
            w.alice.post("/api_keys", &json!({"label": "x"})).await,
        ];
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status_code().as_u16()).collect();
        assert_eq!(statuses, [200, 400, 404, 413, 415, 422, 201]);
        let all_left: Vec<u32> = answers.iter().map(|answer| left(answer, 60)).collect();
        assert_eq!(all_left, [59, 58, 57, 56, 55, 54, 53]);
        for unlimited in [
            w.server.get("/account").await,
            w.server.get("/status").await,
            w.server.get("/nowhere").authorization_bearer(&w.alice.key).await,
            w.server.put("/account").authorization_bearer(&w.alice.key).await,
        ] {
            assert_eq!(header(&unlimited, "ratelimit"), None, "{}", unlimited.status_code());
        }
        assert_eq!(left(&w.alice.get("/account").await, 60), 52);
    })
    .await;
}

#[tokio::test]
async fn past_its_limit_a_key_is_refused_before_its_body_and_no_other_key_is() {
    world(|w| async move {
        limit(&w, 3, 5);
        for _ in 0..3 {
            w.alice.get("/account").await.assert_status_ok();
        }
        let large = vec![b' '; (1 << 20) + 1];
        let refused = w.server.post("/api_keys").authorization_bearer(&w.alice.key).bytes(large.into()).await;
        assert_eq!(refused.status_code(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(left(&refused, 3), 0);
        let wait = header(&refused, "retry-after").unwrap();
        assert!(header(&refused, "ratelimit").unwrap().ends_with(&format!(";t={wait}")));
        let body: Value = refused.json();
        assert_eq!(body["code"], "rate_limited");
        assert_eq!(body["details"], json!({"limit": 3, "period": 60}));
        assert_eq!(left(&w.bob.get("/account").await, 3), 2);
        let nobody = w.server.get("/account").authorization_bearer("ak_live_x").await;
        assert_eq!(nobody.status_code(), StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn signups_are_limited_by_network_and_keys_are_not_touched_by_it() {
    world(|w| async move {
        limit(&w, 60, 2);
        for n in 0..2 {
            let made = w.server.post("/signup").json(&json!({"email": format!("n{n}@example.com")})).await;
            made.assert_status(StatusCode::CREATED);
            assert_eq!(header(&made, "ratelimit-policy").as_deref(), Some("\"signup\";q=2;w=3600"));
        }
        let refused = w.server.post("/signup").json(&json!({"email": "n2@example.com"})).await;
        assert_eq!(refused.status_code(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.json::<Value>()["details"], json!({"limit": 2, "period": 3600}));
        // Nobody trusts a header of the client's own.
        let request = w.server.post("/signup").add_header("x-forwarded-for", "198.51.100.1");
        let spoofed = request.json(&json!({"email": "n3@example.com"})).await;
        assert_eq!(spoofed.status_code(), StatusCode::TOO_MANY_REQUESTS);
        w.alice.get("/account").await.assert_status_ok();
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_away_leaves_requests_served_and_this_nodes_limit_in_force() {
    world(|w| async move {
        let redis_url = Some(format!("redis://127.0.0.1:{}", testkit::child::free_port().unwrap()));
        let settings = LimitSettings { per_minute: 2, signups_per_hour: 5, redis_url };
        let limits = RateLimits::new(&settings).unwrap();
        w.ctx.shared_store.insert(AppState { limits, ..w.state() });
        for expected in [200, 200, 429] {
            assert_eq!(w.alice.get("/account").await.status_code().as_u16(), expected);
        }
    })
    .await;
}
