//! `Idempotency-Key`: the first answer again, byte for byte, and one effect.

use std::time::Duration;

use ampout::{clock::Timestamp, http::idempotency::Turns, models::idempotency_keys, tenancy::SystemScope};
use axum::http::{Method, StatusCode};
use axum_test::TestResponse;
use serde_json::{Value, json};

use crate::support::{Client, World, world};

async fn keyed(
    w: &World,
    client: &Client,
    method: Method,
    path: &str,
    key: &str,
    body: &Value,
) -> TestResponse {
    let request = w.server.method(method, path).authorization_bearer(&client.key);
    request.add_header("idempotency-key", key).json(body).await
}

async fn post(w: &World, client: &Client, path: &str, key: &str, body: &Value) -> TestResponse {
    keyed(w, client, Method::POST, path, key, body).await
}

fn replayed(answer: &TestResponse) -> bool {
    answer.maybe_header("idempotent-replayed").is_some_and(|value| value == "true")
}

/// The same but for what is each answer's own.
fn assert_same(first: &TestResponse, again: &TestResponse) {
    assert!(!replayed(first) && replayed(again), "{}", again.text());
    assert_eq!(first.status_code(), again.status_code());
    assert_eq!(first.as_bytes(), again.as_bytes());
    assert_eq!(first.maybe_header("content-type"), again.maybe_header("content-type"));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
}

fn outreach(name: &str) -> Value {
    json!({"outreach": {"name": name}})
}

const OUTREACHES: &str = "SELECT count(*) FROM outreaches";
const KEYS: &str = "SELECT count(*) FROM idempotency_keys";

#[tokio::test]
async fn the_same_key_answers_the_first_response_again_and_does_nothing() {
    world(|w| async move {
        let first = post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        assert_eq!(first.status_code(), StatusCode::CREATED);
        let again = post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        assert_same(&first, &again);
        assert_eq!(w.number(OUTREACHES, []).await, 1);
        let other = post(&w, &w.bob, "/outreaches", "k1", &outreach("One")).await;
        assert!(!replayed(&other), "a key belongs to its account");
        assert_eq!(w.number(OUTREACHES, []).await, 2);
    })
    .await;
}

#[tokio::test]
async fn another_method_path_query_or_body_is_a_conflict() {
    world(|w| async move {
        let made = post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        let id = made.json::<Value>()["id"].as_str().unwrap().to_owned();
        let one = format!("/outreaches/{id}");
        for (method, path, body) in [
            (Method::POST, "/outreaches", outreach("Two")),
            (Method::PATCH, one.as_str(), outreach("One")),
            (Method::DELETE, one.as_str(), json!({})),
            (Method::POST, "/api_keys", json!({"label": "x"})),
        ] {
            let answer = keyed(&w, &w.alice, method, path, "k1", &body).await;
            assert_eq!(answer.status_code(), StatusCode::CONFLICT, "{path}: {}", answer.text());
            assert_eq!(answer.json::<Value>()["code"], "idempotency_conflict");
            assert!(answer.maybe_header("retry-after").is_none());
        }
        assert_eq!(w.number(OUTREACHES, []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_key_must_be_given_once_and_be_visible_ascii_of_bounded_length() {
    world(|w| async move {
        let long = "x".repeat(256);
        for key in ["", long.as_str(), "two words", "tab\there"] {
            let answer = post(&w, &w.alice, "/outreaches", key, &outreach("One")).await;
            assert_eq!(answer.json::<Value>()["code"], "bad_request", "{key}");
        }
        let twice = w.server.post("/outreaches").authorization_bearer(&w.alice.key);
        let twice = twice.add_header("idempotency-key", "a").add_header("idempotency-key", "a");
        assert_eq!(twice.json(&outreach("One")).await.status_code(), StatusCode::BAD_REQUEST);
        assert_eq!(w.number(OUTREACHES, []).await, 0);
        let longest = post(&w, &w.alice, "/outreaches", &"x".repeat(255), &outreach("One")).await;
        assert_eq!(longest.status_code(), StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn refusals_of_models_and_rules_are_kept_and_those_of_the_transport_are_not() {
    world(|w| async move {
        let invalid = post(&w, &w.alice, "/outreaches", "k422", &outreach("")).await;
        assert_eq!(invalid.status_code(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_same(&invalid, &post(&w, &w.alice, "/outreaches", "k422", &outreach("")).await);
        let missing = keyed(&w, &w.alice, Method::DELETE, "/contacts/x", "k404", &json!({})).await;
        assert_eq!(missing.status_code(), StatusCode::NOT_FOUND);
        let again = keyed(&w, &w.alice, Method::DELETE, "/contacts/x", "k404", &json!({})).await;
        assert_same(&missing, &again);
        // Before the transaction begins.
        let enroll = json!({"contact_id": "x"});
        let late = post(&w, &w.alice, "/campaigns/x/enroll_contact", "klate", &enroll).await;
        assert_same(&late, &post(&w, &w.alice, "/campaigns/x/enroll_contact", "klate", &enroll).await);
        for (path, body) in [("/outreaches", json!({"x": 1})), ("/nowhere", json!({}))] {
            for _ in 0..2 {
                assert!(!replayed(&post(&w, &w.alice, path, "knot", &body).await), "{path}");
            }
        }
        assert_eq!(w.number(KEYS, []).await, 3);
        let well = post(&w, &w.alice, "/outreaches", "knot", &outreach("One")).await;
        assert_eq!(well.status_code(), StatusCode::CREATED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_identical_posts_at_once_leave_one_effect_and_equal_answers() {
    world(|w| async move {
        let body = outreach("One");
        let all = (0..20).map(|_| post(&w, &w.alice, "/outreaches", "k1", &body));
        let answers = futures_util::future::join_all(all).await;
        assert_eq!(w.number(OUTREACHES, []).await, 1);
        assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
        for answer in &answers {
            assert_eq!(answer.status_code(), StatusCode::CREATED, "{}", answer.text());
            assert_eq!(answer.as_bytes(), answers[0].as_bytes());
        }
    })
    .await;
}

#[tokio::test]
async fn a_twin_past_its_wait_is_told_when_to_come_back() {
    world(|w| async move {
        let mut state = w.state();
        state.turns = Turns::waiting(Duration::from_millis(200));
        let turns = state.turns.clone();
        w.ctx.shared_store.insert(state);
        post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        w.sql("UPDATE idempotency_keys SET status = NULL, locked_until = 9000000000000000", []).await;
        let answer = post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        assert_eq!(answer.status_code(), StatusCode::CONFLICT);
        assert_eq!(answer.json::<Value>()["code"], "idempotency_conflict");
        assert!(answer.header("retry-after").to_str().unwrap().parse::<u32>().unwrap() >= 1);
        assert!(format!("{turns:?}").contains("{}"), "nobody is left in the queue");
    })
    .await;
}

#[tokio::test]
async fn a_signup_is_repeated_for_the_address_that_made_it() {
    world(|w| async move {
        let body = json!({"email": "carol@example.com"});
        let send =
            || async { w.server.post("/signup").add_header("idempotency-key", "k1").json(&body).await };
        let (first, again) = (send().await, send().await);
        assert_eq!(first.status_code(), StatusCode::CREATED);
        assert_same(&first, &again);
    })
    .await;
}

#[tokio::test]
async fn a_stored_answer_does_not_show_the_key_that_it_carries() {
    world(|w| async move {
        let made = post(&w, &w.alice, "/api_keys", "k1", &json!({"label": "new"})).await;
        let plaintext = made.json::<Value>()["plaintext"].as_str().unwrap().to_owned();
        let rows = sea_orm::EntityTrait::find();
        let rows: sea_orm::Select<ampout::models::_entities::idempotency_keys::Entity> = rows;
        let rows = rows.all(&w.ctx.db).await.unwrap();
        assert_eq!(rows.len(), 1);
        let body = rows[0].body.clone().unwrap();
        assert!(body.len() > plaintext.len());
        assert!(!body.windows(8).any(|piece| plaintext.as_bytes().windows(8).any(|it| it == piece)));
        assert!(!format!("{:?}{:?}", rows[0].headers, rows[0].code).contains(&plaintext));
    })
    .await;
}

#[tokio::test]
async fn after_a_day_a_key_is_new_and_its_answer_is_purged() {
    world(|w| async move {
        post(&w, &w.alice, "/outreaches", "k1", &outreach("One")).await;
        post(&w, &w.alice, "/outreaches", "k2", &outreach("One")).await;
        w.sql("UPDATE idempotency_keys SET expires_at = 1", []).await;
        let anew = post(&w, &w.alice, "/outreaches", "k1", &outreach("Another")).await;
        assert_eq!(anew.status_code(), StatusCode::CREATED);
        assert!(!replayed(&anew));
        let purged = SystemScope::in_transaction(&w.db(), async |system| {
            idempotency_keys::purge(system, Timestamp::now(), 10).await
        })
        .await
        .unwrap();
        assert_eq!(purged, 1);
        assert!(replayed(&post(&w, &w.alice, "/outreaches", "k1", &outreach("Another")).await));
    })
    .await;
}
