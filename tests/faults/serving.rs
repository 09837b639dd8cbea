//! Processes that serve: one limit for all of them, Redis away or silent and back, and what the last requests counted.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use testkit::{
    child::{Builder, Child, free_port},
    wait::eventually,
};
use tokio::time::timeout;

use super::answers::{api_process, started};
use crate::support::{World, campaign::DEADLINE, world};

/// A quarter of a second is what a request waits for Redis; the rest is for a busy machine. Less than what any request may
/// take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Redis, which `.ci/run` insists on: named by `REDIS_SERVER`, or one that is installed.
fn redis_server() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("REDIS_SERVER") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join("redis-server")).find(|file| file.exists())
}

/// One that forgets everything when it ends, listening on loopback.
fn redis(program: PathBuf, port: u16) -> Builder {
    let port = port.to_string();
    let arguments = ["--port", port.as_str(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    Child::builder(program).unwrap().args(arguments)
}

/// Status and announced standing of a request.
async fn ask(w: &World, port: u16) -> (u16, String) {
    let answer = get(w, port, "/account").await;
    let standing = answer.headers().get("ratelimit").unwrap().to_str().unwrap().to_owned();
    (answer.status().as_u16(), standing.split(';').nth(1).unwrap().to_owned())
}

async fn get(w: &World, port: u16, path: &str) -> reqwest::Response {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("http://127.0.0.1:{port}{path}")).bearer_auth(&w.alice.key);
    request.send().await.unwrap()
}

/// A process that takes five requests of a key a minute, counted in that Redis.
async fn limited(w: &World, redis: u16) -> (Child, u16) {
    let port = free_port().unwrap();
    let process = api_process(w, port).env("REDIS_URL", format!("redis://127.0.0.1:{redis}"));
    let process = process.env("RATE_LIMIT_PER_MINUTE", "5").env("LOG_LEVEL", "info");
    (started(&process, port).await, port)
}

/// How often a process did without Redis.
async fn failures(w: &World, port: u16) -> f64 {
    let metrics = get(w, port, "/metrics").await.text().await.unwrap();
    let series = "ampout_rate_limit_store_failures_total ";
    metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap().parse().unwrap()
}

/// The answers of two processes that share a Redis. One that it did not answer in a quarter of a second counts by itself, as
/// it is meant to; on a machine so busy it is asked anew, all of it.
async fn shared(
    w: &World,
    program: PathBuf,
    ask: impl AsyncFn(u16, u16) -> Vec<(u16, String)>,
) -> Vec<(u16, String)> {
    for _ in 0..5 {
        let store = free_port().unwrap();
        let _redis = started(&redis(program.clone(), store), store).await;
        let ((_one, first), (_two, second)) = (limited(w, store).await, limited(w, store).await);
        let answers = ask(first, second).await;
        if failures(w, first).await + failures(w, second).await == 0.0 {
            return answers;
        }
    }
    panic!("Redis never answered in time");
}

fn outcomes(answers: &[(u16, String)]) -> BTreeMap<u16, usize> {
    let mut found = BTreeMap::new();
    for (status, _) in answers {
        *found.entry(*status).or_default() += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_one_limit() {
    let Some(program) = redis_server() else { return eprintln!("skipped: no redis-server") };
    world(|w| async move {
        let answers = shared(&w, program, async |first, second| {
            let mut answers = vec![];
            for port in [first, second, first, second, first, second, first] {
                answers.push(ask(&w, port).await);
            }
            answers
        })
        .await;
        let left: Vec<&str> = answers.iter().map(|(_, left)| left.as_str()).collect();
        assert_eq!(left, ["r=4", "r=3", "r=2", "r=1", "r=0", "r=0", "r=0"]);
        assert_eq!(outcomes(&answers), BTreeMap::from([(200, 5), (429, 2)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_to_two_processes_never_pass_the_limit() {
    let Some(program) = redis_server() else { return eprintln!("skipped: no redis-server") };
    world(|w| async move {
        let answers = shared(&w, program, async |first, second| {
            let all = (0..20).map(|n| ask(&w, if n % 2 == 0 { first } else { second }));
            futures_util::future::join_all(all).await
        })
        .await;
        assert_eq!(outcomes(&answers), BTreeMap::from([(200, 5), (429, 15)]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_requests_are_served_and_counted_here_and_it_is_used_again_when_it_is_back() {
    let Some(program) = redis_server() else { return eprintln!("skipped: no redis-server") };
    world(|w| async move {
        let store = free_port().unwrap();
        let builder = redis(program, store);
        let mut away = started(&builder, store).await;
        let (mut api, port) = limited(&w, store).await;
        assert_eq!(ask(&w, port).await, (200, "r=4".to_owned()));
        away.kill_9().await.unwrap();
        let mut answers = vec![];
        for _ in 0..5 {
            answers.push(ask(&w, port).await);
        }
        let left: Vec<&str> = answers.iter().map(|(_, left)| left.as_str()).collect();
        assert_eq!(left, ["r=3", "r=2", "r=1", "r=0", "r=0"], "it goes on with what it counted itself");
        assert_eq!(outcomes(&answers), BTreeMap::from([(200, 4), (429, 1)]));
        api.wait_for_output("the store of rate limits is away", DEADLINE).await.unwrap();
        assert!(failures(&w, port).await >= 1.0);

        // A new one has counted nothing, so whoever is let in again was counted there.
        let _back = started(&builder, store).await;
        eventually(DEADLINE, || async { (ask(&w, port).await.0 == 200).then_some(()) }).await.unwrap();
        api.wait_for_output("rate limits are shared again", DEADLINE).await.unwrap();
    })
    .await;
}

/// A Redis that is stopped takes connections and commands, and says nothing. Without a bound whoever asks would wait for it
/// until the test's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_requests_are_answered_in_time_and_counted_here_and_it_is_used_again_later() {
    let Some(program) = redis_server() else { return eprintln!("skipped: no redis-server") };
    world(|w| async move {
        let store = free_port().unwrap();
        let redis = started(&redis(program, store), store).await;
        let (mut api, port) = limited(&w, store).await;
        // One that has begun to ask, and one that never had an answer.
        assert_eq!(ask(&w, port).await, (200, "r=4".to_owned()));
        redis.stop().await.unwrap();
        let (_other, second) = limited(&w, store).await;
        for (port, left) in
            [(port, &["r=3", "r=2", "r=1", "r=0", "r=0"]), (second, &["r=4", "r=3", "r=2", "r=1", "r=0"])]
        {
            for left in left {
                let (_, told) = timeout(ANSWERED_WITHIN, ask(&w, port)).await.expect("it waits for Redis");
                assert_eq!(told, *left);
            }
            assert!(failures(&w, port).await >= 1.0);
        }
        let all = (0..10).map(|_| timeout(ANSWERED_WITHIN, ask(&w, port)));
        let answers = futures_util::future::try_join_all(all).await.expect("one waits for Redis");
        assert_eq!(outcomes(&answers), BTreeMap::from([(429, 10)]));
        api.wait_for_output("the store of rate limits is away", DEADLINE).await.unwrap();

        redis.cont().unwrap();
        eventually(DEADLINE, || async {
            ask(&w, port).await;
            api.output().contains("rate limits are shared again").then_some(())
        })
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_end_stores_what_its_last_requests_counted() {
    world(|w| async move {
        let port = free_port().unwrap();
        let mut api = started(&api_process(&w, port).env("LOG_LEVEL", "info"), port).await;
        w.sql("ALTER TABLE usage_hours RENAME TO away", []).await;
        for _ in 0..3 {
            assert_eq!(get(&w, port, "/account").await.status(), 200);
        }
        // The next try is a second away: what is stored by then was stored at the end.
        api.wait_for_output("usage is not stored", DEADLINE).await.unwrap();
        w.sql("ALTER TABLE away RENAME TO usage_hours", []).await;
        api.terminate().unwrap();
        assert!(api.wait(DEADLINE).await.unwrap().success(), "{}", api.output());
        assert_eq!(w.number("SELECT CAST(sum(requests) AS bigint) FROM usage_hours", []).await, 3);
        assert_eq!(w.number("SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL", []).await, 1);
    })
    .await;
}
