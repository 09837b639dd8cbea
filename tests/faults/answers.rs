//! kill -9 between effect, commit and answer of a request with a key: both are there or neither.

use std::net::SocketAddr;

use rstest::rstest;
use serde_json::{Value, json};
use testkit::{
    child::{Builder, Child, free_port},
    sink::Sink,
};

use super::{armed, process};
use crate::support::{
    World,
    campaign::{DEADLINE, addresses},
    campaigns::{credential, step},
    world,
};

/// An API process of its own on the world's database, at this port.
pub fn api_process(w: &World, port: u16) -> Builder {
    process(w).arg("start").env("PORT", port.to_string())
}

/// Starts a program that listens on this port.
pub async fn started(builder: &Builder, port: u16) -> Child {
    let mut child = builder.start().unwrap();
    child.wait_for_port(SocketAddr::from(([127, 0, 0, 1], port)), DEADLINE).await.unwrap();
    child
}

/// Status, whether it was replayed, and body.
async fn post(port: u16, key: &str, path: &str, body: Value) -> Result<(u16, bool, String), reqwest::Error> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(format!("http://127.0.0.1:{port}{path}")).bearer_auth(key);
    let request = request.header("content-type", "application/json").header("idempotency-key", "k1");
    let answer = request.body(body.to_string()).send().await?;
    let replayed = answer.headers().contains_key("idempotent-replayed");
    Ok((answer.status().as_u16(), replayed, answer.text().await?))
}

/// Kills the process when the request has reached the point, and starts another.
async fn asked_and_killed_at(
    w: &World,
    point: &str,
    passes: usize,
    path: &str,
    body: &Value,
) -> (Child, u16) {
    let port = free_port().unwrap();
    let api = api_process(w, port);
    let mut held = started(&armed(api.clone(), point, passes), port).await;
    let (key, path, body) = (w.alice.key.clone(), path.to_owned(), body.clone());
    let cut = tokio::spawn(async move { post(port, &key, &path, body).await });
    held.wait_for_file("held", DEADLINE).await.unwrap();
    held.kill_9().await.unwrap();
    assert!(cut.await.unwrap().is_err(), "it was answered before it was killed");
    (started(&api, port).await, port)
}

#[rstest]
#[case::before_the_commit("answer-before-commit", 0)]
#[case::after_the_commit("answer-after-commit", 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_around_the_commit_effect_and_answer_are_there_or_neither(
    #[case] point: &'static str,
    #[case] stored: i64,
) {
    world(|w| async move {
        let body = json!({"outreach": {"name": "One"}});
        let (_api, port) = asked_and_killed_at(&w, point, 0, "/outreaches", &body).await;
        let effects = "SELECT count(*) FROM outreaches";
        assert_eq!(w.number(effects, []).await, stored);
        let answers = w.number("SELECT count(*) FROM idempotency_keys", []).await;
        assert_eq!(answers, stored, "an effect without its answer, or the other way");
        let first = post(port, &w.alice.key, "/outreaches", body.clone()).await.unwrap();
        let again = post(port, &w.alice.key, "/outreaches", body).await.unwrap();
        assert_eq!((first.0, first.1), (201, stored == 1), "{}", first.2);
        assert_eq!((again.0, again.1, &again.2), (201, true, &first.2));
        assert_eq!(w.number(effects, []).await, 1);
    })
    .await;
}

/// A request that changes much at once, and how many rows of it there are.
#[derive(Clone, Copy, Debug)]
enum Much {
    Import,
    Enroll,
    Dispatch,
}

impl Much {
    /// What comes before it: where it is asked for, its body, and a count of what it leaves.
    async fn prepared(self, w: &World) -> (String, Value, &'static str) {
        let people = addresses("ok", 30);
        let contacts: Vec<_> = people.iter().map(|email| json!({ "email": email })).collect();
        let import = json!({"contact_import": {"name": "People", "contacts": contacts}});
        if matches!(self, Self::Import) {
            let left = "SELECT (SELECT count(*) FROM contacts) + (SELECT count(*) FROM contact_imports)";
            return ("/contact_imports".to_owned(), import, left);
        }
        let campaign = json!({"campaign": {
            "name": "T", "smtp_credentials": [credential()], "sequence_steps": [step(1)]
        }});
        let path =
            format!("/campaigns/{}", w.alice.made("/campaigns", &campaign).await["id"].as_str().unwrap());
        let import = w.alice.made("/contact_imports", &import).await["id"].clone();
        let enroll = json!({ "contact_import_id": import, "batch_size": 10 });
        if matches!(self, Self::Enroll) {
            let left = "SELECT (SELECT count(*) FROM enrollments) + (SELECT count(*) FROM batches) \
                        + (SELECT CAST(sum(pending) AS bigint) FROM campaign_totals)";
            return (format!("{path}/enroll"), enroll, left);
        }
        w.alice.made(&format!("{path}/enroll"), &enroll).await;
        let left = "SELECT (SELECT count(*) FROM batches WHERE dispatched_at IS NOT NULL) \
                    + (SELECT count(*) FROM campaigns WHERE status = 'active')";
        (format!("{path}/dispatch"), json!({}), left)
    }
}

#[rstest]
#[case::an_import(Much::Import, 31)]
#[case::an_enrolling(Much::Enroll, 63)]
#[case::a_dispatch(Much::Dispatch, 4)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_its_commit_a_large_change_is_not_there_and_comes_whole_with_its_repetition(
    #[case] much: Much,
    #[case] whole: i64,
) {
    world(|w| async move {
        let (path, body, left) = much.prepared(&w).await;
        let (_api, port) = asked_and_killed_at(&w, "answer-before-commit", 0, &path, &body).await;
        assert_eq!(w.number(left, []).await, 0);
        let first = post(port, &w.alice.key, &path, body.clone()).await.unwrap();
        let again = post(port, &w.alice.key, &path, body).await.unwrap();
        assert!((200..300).contains(&first.0) && !first.1, "{}", first.2);
        assert_eq!((again.0, again.1, again.2), (first.0, true, first.2));
        assert_eq!(w.number(left, []).await, whole);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_test_send_nobody_is_mailed_twice() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut lane = credential();
        lane["smtp_port"] = json!(sink.port());
        let campaign =
            json!({"campaign": {"name": "T", "smtp_credentials": [lane], "sequence_steps": [step(1)]}});
        let id = w.alice.made("/campaigns", &campaign).await["id"].as_str().unwrap().to_owned();
        let path = format!("/campaigns/{id}/test_send");
        let body = json!({"emails": ["a@example.com", "b@example.com", "c@example.com"]});
        let (_api, port) = asked_and_killed_at(&w, "smtp-after-dot", 1, &path, &body).await;
        w.sql("UPDATE idempotency_keys SET locked_until = 0", []).await;
        let (status, replayed, text) = post(port, &w.alice.key, &path, body.clone()).await.unwrap();
        assert_eq!((status, replayed), (200, false), "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        let statuses: Vec<_> = (0..3).map(|n| told["results"][n]["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["sent", "failed", "sent"], "the second was marked, and nobody knows");
        for name in ["a", "b", "c"] {
            assert!(
                sink.messages_to(&format!("{name}@example.com")).len() <= 1,
                "{name} was written to twice"
            );
        }
        let again = post(port, &w.alice.key, &path, body).await.unwrap();
        assert_eq!((again.1, again.2), (true, text));
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, 2);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 1);
    })
    .await;
}
