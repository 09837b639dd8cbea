//! Storing, listing, cancelling and purging.

use std::time::Duration;

use ampout::{
    app::App,
    clock::Timestamp,
    jobs::{Job, KEEP_COMPLETED, KEEP_FAILED, enqueue_on, purge_jobs},
};
use loco_rs::{
    bgworker::{JobStatus, QueueProvider},
    boot::create_context,
    config::WorkerMode,
    environment::Environment,
};
use sea_orm::TransactionTrait;
use serde_json::json;

use super::{WORKER, queue, row, status, store};
use crate::support::world;

const COUNT: &str = "SELECT count(*) FROM jobs WHERE name = 'Probe'";

#[tokio::test]
async fn a_job_exists_if_and_only_if_its_cause_commits() {
    world(async |world| {
        let undone = world.ctx.db.begin().await.unwrap();
        enqueue_on(&undone, Job::new(WORKER, json!(1))).await.unwrap();
        undone.rollback().await.unwrap();
        assert_eq!(world.number(COUNT, []).await, 0);

        let done = world.ctx.db.begin().await.unwrap();
        enqueue_on(&done, Job::new(WORKER, json!(2))).await.unwrap();
        done.commit().await.unwrap();
        assert_eq!(world.number(COUNT, []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_unique_key_stores_one_job() {
    world(async |world| {
        let job = || Job::new(WORKER, json!(1)).unique("probe:1");
        assert!(enqueue_on(&world.ctx.db, job()).await.unwrap().is_some());
        assert!(enqueue_on(&world.ctx.db, job()).await.unwrap().is_none());
        assert_eq!(world.number(COUNT, []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_delay_counts_from_the_databases_now() {
    world(async |world| {
        let job = Job::new(WORKER, json!(1)).after(Duration::from_secs(90));
        let id = enqueue_on(&world.ctx.db, job).await.unwrap().unwrap();
        let row = row(&world, "run_at, created_at", id).await;
        let (run_at, created_at): (i64, i64) =
            (row.try_get("", "run_at").unwrap(), row.try_get("", "created_at").unwrap());
        let waits = (run_at - created_at).abs_diff(90_000_000);
        assert!(waits < 1_000_000, "off by {waits} µs");
        let apart = created_at.abs_diff(Timestamp::now().micros());
        assert!(
            apart < 60_000_000,
            "the database's clock is in microseconds since the epoch, off by {apart} µs"
        );
    })
    .await;
}

#[tokio::test]
async fn ended_jobs_are_purged_when_their_time_is_over() {
    world(async |world| {
        let now = Timestamp::now();
        let day = Duration::from_secs(86_400);
        let mut kept = Vec::new();
        for (ended, keep) in
            [("completed", KEEP_COMPLETED), ("failed", KEEP_FAILED), ("cancelled", KEEP_FAILED)]
        {
            for (age, stays) in [(keep.saturating_sub(day), true), (keep + day, false)] {
                let id = store(&world, 0).await;
                let moment = now.minus(age).micros();
                let text = "UPDATE jobs SET status = $1, updated_at = $2 WHERE id = $3";
                world.sql(text, [ended.into(), moment.into(), id.into()]).await;
                if stays {
                    kept.push(id);
                }
            }
        }
        let waiting = store(&world, 0).await;
        world.sql("UPDATE jobs SET updated_at = 0 WHERE id = $1", [waiting.into()]).await;

        assert_eq!(purge_jobs(&world.ctx.db, now, 2).await.unwrap(), 2, "a full batch");
        assert_eq!(purge_jobs(&world.ctx.db, now, 2).await.unwrap(), 1, "the rest");
        assert_eq!(world.number(COUNT, []).await, 4);
        for id in kept {
            assert_ne!(status(&world, id).await, "queued");
        }
        assert_eq!(status(&world, waiting).await, "queued");
    })
    .await;
}

#[tokio::test]
async fn an_operator_lists_cancels_retries_and_clears() {
    world(async |world| {
        let queue = queue(&world);
        let (first, second) = (store(&world, 1).await, store(&world, 2).await);
        world.sql("UPDATE jobs SET status = 'failed', attempts = 8 WHERE id = $1", [first.into()]).await;

        let failed = queue.get_jobs(Some(&vec![JobStatus::Failed]), None).await.unwrap();
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].id.as_str(), &failed[0].data), (first.to_string().as_str(), &json!(1)));

        queue.cancel_jobs_by_name(WORKER).await.unwrap();
        assert_eq!(status(&world, second).await, "cancelled");
        assert_eq!(queue.retry_failed(Some(&first.to_string())).await.unwrap(), 1);
        assert_eq!(status(&world, first).await, "queued");
        let attempts: i32 = row(&world, "attempts", first).await.try_get("", "attempts").unwrap();
        assert_eq!(attempts, 0);

        queue.clear_by_status(vec![JobStatus::Cancelled]).await.unwrap();
        queue.clear_jobs_older_than(1, None).await.unwrap();
        assert_eq!(world.number(COUNT, []).await, 1);
    })
    .await;
}

/// `start` makes a context, and another from the first one's configuration.
#[tokio::test]
async fn the_queue_is_ours_in_a_context_made_from_another_ones_configuration() {
    world(async |world| {
        let again = create_context::<App>(&Environment::Test, world.ctx.config.clone()).await.unwrap();
        assert_eq!(again.config.workers.mode, WorkerMode::BackgroundQueue);
        let queue = again.queue_provider.as_ref().unwrap();
        assert!(queue.describe().contains("application's database"), "{}", queue.describe());
        again.db.close().await.unwrap();
    })
    .await;
}
