//! Keys of requests that talk to the outside, and of requests that two processes get at once.

use std::net::SocketAddr;

use ampout::app::App;
use axum::http::StatusCode;
use axum_test::{TestResponse, TestServer};
use loco_rs::{app::Hooks, boot::StartMode, environment::Environment};
use serde_json::{Value, json};
use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use crate::support::{World, campaign::DEADLINE, campaigns::credential, campaigns::step, world};

async fn post(w: &World, server: &TestServer, path: &str, body: &Value) -> TestResponse {
    let request = server.post(path).authorization_bearer(&w.alice.key);
    request.add_header("idempotency-key", "k1").json(body).await
}

fn replayed(answer: &TestResponse) -> bool {
    answer.maybe_header("idempotent-replayed").is_some()
}

/// The path of the test sends of a campaign whose credential leads to the sink, and of the check of that credential.
async fn paths(w: &World, sink: &Sink) -> (String, String) {
    let mut lane = credential();
    lane["smtp_port"] = json!(sink.port());
    let body = json!({"campaign": {"name": "Test", "smtp_credentials": [lane], "sequence_steps": [step(1)]}});
    let campaign = w.alice.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
    let id = w.alice.credential_of(&campaign).await;
    (
        format!("/campaigns/{campaign}/test_send"),
        format!("/campaigns/{campaign}/smtp_credentials/{id}/verify"),
    )
}

fn emails(addresses: &[&str]) -> Value {
    json!({ "emails": addresses })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_that_talk_to_the_outside_do_it_once() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (send, verify) = paths(&w, &sink).await;
        let body = emails(&["me@example.com"]);
        let twins = (0..5).map(|_| post(&w, &w.server, &send, &body));
        let answers = futures_util::future::join_all(twins).await;
        assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
        assert!(answers.iter().all(|answer| answer.as_bytes() == answers[0].as_bytes()));
        assert_eq!(answers[0].json::<Value>()["results"][0]["status"], "sent");
        assert_eq!(sink.count(), 1);
        let other = post(&w, &w.server, &verify, &json!({})).await;
        assert_eq!(other.status_code(), StatusCode::CONFLICT, "one key, two requests");
        assert_eq!(sink.connections().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_finds_its_answer_when_it_comes_back() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (send, _) = paths(&w, &sink).await;
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let body = emails(&["me@example.com"]);
        tokio::select! {
            answer = post(&w, &w.server, &send, &body) => panic!("answered while held: {}", answer.text()),
            held = hold.reached(DEADLINE) => held.unwrap(),
        }
        hold.release();
        let again = post(&w, &w.server, &send, &body).await;
        assert!(replayed(&again), "{}", again.text());
        assert_eq!(again.json::<Value>()["results"][0]["status"], "sent");
        assert_eq!(sink.count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_taken_over_mails_nobody_twice() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (send, _) = paths(&w, &sink).await;
        let body = emails(&["a@example.com", "b@example.com", "c@example.com", "d@example.com"]);
        post(&w, &w.server, &send, &body).await;
        assert_eq!(sink.count(), 4);
        // As if the process had died: b marked and not recorded, c refused, d not begun.
        let state = async |email: &str, state: &str, reply: &str| {
            let sql = "UPDATE test_messages SET state = $2, smtp_reply = $3 WHERE email = $1";
            w.sql(sql, [email.into(), state.into(), reply.into()]).await;
        };
        state("b@example.com", "sending", "").await;
        state("c@example.com", "failed", "550 no").await;
        state("d@example.com", "claimed", "").await;
        w.sql("UPDATE account_periods SET sends = sends - 3, reserved = reserved + 2", []).await;
        w.sql("UPDATE idempotency_keys SET status = NULL, body = NULL, locked_until = 0", []).await;
        let again = post(&w, &w.server, &send, &body).await.json::<Value>();
        let told: Vec<_> =
            again["results"].as_array().unwrap().iter().map(|it| it["error"].clone()).collect();
        let unknown = "the server did not say whether it took the message";
        assert_eq!(told, [Value::Null, json!(unknown), json!("550 no"), Value::Null]);
        let counts = ["a", "b", "c", "d"].map(|name| sink.messages_to(&format!("{name}@example.com")).len());
        assert_eq!(counts, [1, 1, 1, 2], "only what was not marked is sent");
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, 2);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 1);
        assert!(replayed(&post(&w, &w.server, &send, &body).await));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_before_the_outside_is_asked_is_kept_too() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (send, _) = paths(&w, &sink).await;
        let first = post(&w, &w.server, &send, &json!({})).await;
        assert_eq!(first.json::<Value>()["code"], "no_emails_provided");
        let again = post(&w, &w.server, &send, &json!({})).await;
        assert!(replayed(&again));
        assert_eq!(first.as_bytes(), again.as_bytes());
    })
    .await;
}

/// Another process on the same database, with turns of its own.
async fn another(w: &World) -> TestServer {
    let mut config = App::load_config(&Environment::Test).await.unwrap();
    let of = |name: &str| w.environment.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    config.database.uri = of("DATABASE_URL");
    config.database.auto_migrate = false;
    config.database.max_connections = 6;
    config.settings.as_mut().unwrap()["master_key"] = json!(of("MASTER_KEY"));
    let boot = App::boot(StartMode::ServerOnly, &Environment::Test, config).await.unwrap();
    let service = boot.router.unwrap().into_make_service_with_connect_info::<SocketAddr>();
    TestServer::new(service).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_on_two_processes_leave_one_effect() {
    world(|w| async move {
        let second = another(&w).await;
        let body = json!({"outreach": {"name": "One"}});
        let twins =
            (0..20).map(|n| post(&w, if n % 2 == 0 { &w.server } else { &second }, "/outreaches", &body));
        let answers = futures_util::future::join_all(twins).await;
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);
        assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
        for answer in &answers {
            assert_eq!(answer.status_code(), StatusCode::CREATED, "{}", answer.text());
            assert_eq!(answer.as_bytes(), answers[0].as_bytes());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_on_two_processes_talk_to_the_outside_once() {
    world(|w| async move {
        let (sink, second) = (Sink::start().await.unwrap(), another(&w).await);
        let (send, _) = paths(&w, &sink).await;
        let body = emails(&["me@example.com"]);
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let (first, twin, ()) =
            tokio::join!(post(&w, &w.server, &send, &body), post(&w, &second, &send, &body), async {
                hold.reached(DEADLINE).await.unwrap();
                let running = "SELECT count(*) FROM idempotency_keys WHERE status IS NULL";
                eventually(DEADLINE, || async { (w.number(running, []).await == 1).then_some(()) })
                    .await
                    .unwrap();
                hold.release();
            });
        assert_eq!(first.as_bytes(), twin.as_bytes());
        assert_ne!(replayed(&first), replayed(&twin));
        assert_eq!(sink.count(), 1);
    })
    .await;
}
