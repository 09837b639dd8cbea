//! Claiming, performing, retrying, and what a lost lease means.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ampout::jobs::{Job, enqueue_on};
use loco_rs::bgworker::QueueProvider;
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc::UnboundedReceiver};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Act, WORKER, gated_probe, last_error, probe, queue, row, run_until, status, store};
use crate::support::{World, world};

async fn next(called: &mut UnboundedReceiver<Json>) -> Json {
    called.recv().await.unwrap()
}

async fn stored(world: &World, max_attempts: i32) -> Uuid {
    let job = Job { max_attempts, ..Job::new(WORKER, json!(7)) };
    enqueue_on(&world.ctx.db, job).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_job_is_performed_with_its_arguments_and_completed() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Succeed).await;
        let id = queue.enqueue(WORKER.to_owned(), None, json!({"a": [1, "ü"]}), None, None).await.unwrap();
        let id = Uuid::parse_str(&id.unwrap()).unwrap();
        assert_eq!(run_until(&world, &queue, next(&mut called)).await, json!({"a": [1, "ü"]}));
        assert_eq!(status(&world, id).await, "completed");
    })
    .await;
}

#[tokio::test]
async fn a_failed_attempt_waits_and_the_last_one_fails_the_job() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Fail).await;
        let id = stored(&world, 2).await;
        run_until(&world, &queue, next(&mut called)).await;
        assert_eq!(status(&world, id).await, "queued");
        let times = row(&world, "run_at, updated_at", id).await;
        let wait =
            times.try_get::<i64>("", "run_at").unwrap() - times.try_get::<i64>("", "updated_at").unwrap();
        assert!(wait.abs_diff(5_000_000) < 1_000_000, "waits {wait} µs");

        world.sql("UPDATE jobs SET run_at = 0 WHERE id = $1", [id.into()]).await;
        run_until(&world, &queue, next(&mut called)).await;
        assert_eq!(status(&world, id).await, "failed");
        assert_eq!(last_error(&world, id).await.as_deref(), Some("the probe fails"));
    })
    .await;
}

#[tokio::test]
async fn a_panic_fails_the_attempt_and_nothing_else() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Panic).await;
        let jobs = [stored(&world, 1).await, stored(&world, 1).await];
        run_until(&world, &queue, async { (next(&mut called).await, next(&mut called).await) }).await;
        for id in jobs {
            assert_eq!(status(&world, id).await, "failed");
            assert_eq!(last_error(&world, id).await.as_deref(), Some("the worker panicked"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_no_worker_is_registered_for_is_tried_again_later() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Succeed).await;
        let unknown = enqueue_on(&world.ctx.db, Job::new("Unknown", json!(1))).await.unwrap().unwrap();
        store(&world, 2).await;
        run_until(&world, &queue, next(&mut called)).await;
        assert_eq!(status(&world, unknown).await, "queued");
        assert!(last_error(&world, unknown).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_stale_lease_changes_nothing() {
    world(async |world| {
        for act in [Act::Succeed, Act::Fail] {
            let (queue, gate, thief) = (queue(&world), Arc::new(Semaphore::new(0)), Uuid::now_v7());
            let mut called = gated_probe(&queue, act, Arc::clone(&gate)).await;
            let id = stored(&world, 1).await;
            run_until(&world, &queue, async {
                next(&mut called).await;
                let steal = "UPDATE jobs SET lease_token = $1 WHERE id = $2";
                assert_eq!(world.sql(steal, [thief.into(), id.into()]).await, 1);
                gate.add_permits(1);
            })
            .await;
            assert_eq!(status(&world, id).await, "processing", "{act:?}");
            let holder: Option<Uuid> =
                row(&world, "lease_token", id).await.try_get("", "lease_token").unwrap();
            assert_eq!(holder, Some(thief), "{act:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_holder_went_silent_is_taken_over_or_failed() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Succeed).await;
        let (spent, left) = (stored(&world, 3).await, stored(&world, 4).await);
        let silent =
            "UPDATE jobs SET status = 'processing', attempts = 3, locked_until = 1, lease_token = $1";
        world.sql(silent, [Uuid::now_v7().into()]).await;
        run_until(&world, &queue, next(&mut called)).await;
        assert_eq!(status(&world, left).await, "completed");
        assert_eq!(status(&world, spent).await, "failed");
        assert_eq!(last_error(&world, spent).await.as_deref(), Some("the lease ran out"));
        assert!(called.try_recv().is_err(), "the spent job is not performed again");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_held_is_not_taken() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = probe(&queue, Act::Succeed).await;
        let held = stored(&world, 3).await;
        let text = "UPDATE jobs SET status = 'processing', attempts = 1, locked_until = $1, lease_token = $2";
        let far = i64::MAX / 2;
        world.sql(text, [far.into(), Uuid::now_v7().into()]).await;
        store(&world, 2).await;
        assert_eq!(run_until(&world, &queue, next(&mut called)).await, json!(2));
        assert_eq!(status(&world, held).await, "processing");
    })
    .await;
}

#[tokio::test]
async fn four_processes_perform_every_job_once() {
    const JOBS: i64 = 100;
    world(async |world| {
        let queues = [queue(&world), queue(&world), queue(&world), queue(&world)];
        let mut heard = Vec::new();
        for queue in &queues {
            heard.push(probe(queue, Act::Succeed).await);
        }
        for number in 0..JOBS {
            store(&world, number).await;
        }
        let stop = CancellationToken::new();
        let all_done = async {
            let deadline = Instant::now() + Duration::from_secs(30);
            while world.number("SELECT count(*) FROM jobs WHERE status = 'completed'", []).await < JOBS {
                assert!(Instant::now() < deadline, "all jobs within 30 s");
            }
            stop.cancel();
        };
        let running = queues.iter().map(|queue| queue.run_until(world.db(), stop.clone()));
        tokio::join!(all_done, futures_util::future::join_all(running));
        let mut performed = HashMap::new();
        for called in &mut heard {
            while let Ok(number) = called.try_recv() {
                *performed.entry(number.as_i64().unwrap()).or_insert(0) += 1;
            }
        }
        assert_eq!(performed.len(), 100);
        assert!(performed.values().all(|times| *times == 1), "{performed:?}");
    })
    .await;
}
