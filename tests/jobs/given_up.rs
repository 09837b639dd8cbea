//! What follows when a job is given up, and that it commits with the job or not at all.

use std::sync::Arc;

use ampout::{errors::ApiResult, jobs::enqueue_on, tenancy::SystemScope};
use futures_util::{FutureExt, future::BoxFuture};
use loco_rs::bgworker::{JobStatus, QueueProvider};
use serde_json::{Value as Json, json};
use testkit::wait::eventually;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Act, WORKER, gated, last_error, probe, queue, run_until, status};
use crate::support::{World, campaign::DEADLINE, world};

/// Notes the arguments where a test can read them.
fn note(system: &SystemScope, args: Json) -> BoxFuture<'_, ApiResult<()>> {
    async move {
        let text = "UPDATE accounts SET email = $1 WHERE email = 'alice@example.com'";
        system.execute(text, [args.to_string().into()]).await?;
        Ok(())
    }
    .boxed()
}

fn refuse(system: &SystemScope, args: Json) -> BoxFuture<'_, ApiResult<()>> {
    async move {
        note(system, args).await?;
        system.execute("UPDATE no_such_table SET one = 1", []).await?;
        Ok(())
    }
    .boxed()
}

/// Asks, and gets no answer.
fn hear_nothing(_: &SystemScope, _: Json) -> BoxFuture<'_, ApiResult<()>> {
    std::future::pending().boxed()
}

async fn stored(world: &World, max_attempts: i32) -> Uuid {
    let job = ampout::jobs::Job { max_attempts, ..ampout::jobs::Job::new(WORKER, json!(7)) };
    enqueue_on(&world.ctx.db, job).await.unwrap().unwrap()
}

async fn noted(world: &World) -> bool {
    world.number("SELECT count(*) FROM accounts WHERE email = '7'", []).await == 1
}

/// As if whoever ran it at its last attempt had been killed long ago.
async fn abandon(world: &World, id: Uuid) {
    let text = "UPDATE jobs SET status = 'processing', attempts = max_attempts, locked_until = 1, lease_token = $1 \
                WHERE id = $2";
    world.sql(text, [Uuid::now_v7().into(), id.into()]).await;
}

#[tokio::test]
async fn what_follows_is_done_with_the_last_failure_and_not_before() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, note);
        let mut called = probe(&queue, Act::Fail).await;
        let id = stored(&world, 2).await;
        run_until(&world, &queue, called.recv()).await;
        assert_eq!((status(&world, id).await.as_str(), noted(&world).await), ("queued", false));
        world.sql("UPDATE jobs SET run_at = 0", []).await;
        run_until(&world, &queue, called.recv()).await;
        assert_eq!((status(&world, id).await.as_str(), noted(&world).await), ("failed", true));
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_last_holder_went_silent_is_given_up_too() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, note);
        let id = stored(&world, 3).await;
        abandon(&world, id).await;
        let failed = eventually(DEADLINE, || async { (status(&world, id).await == "failed").then_some(()) });
        run_until(&world, &queue, failed).await.unwrap();
        assert!(noted(&world).await);
        assert_eq!(last_error(&world, id).await.as_deref(), Some("the lease ran out"));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_follow_leaves_the_job_to_be_given_up_later() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, refuse);
        let mut called = probe(&queue, Act::Fail).await;
        let id = stored(&world, 1).await;
        run_until(&world, &queue, called.recv()).await;
        assert_eq!((status(&world, id).await.as_str(), noted(&world).await), ("processing", false));
    })
    .await;
}

/// The database falls silent while the claimer gives a job up: other jobs wait for that as long as for a silent
/// database, and no longer.
#[tokio::test]
async fn a_job_that_cannot_be_given_up_for_silence_holds_up_the_others_for_a_while() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, hear_nothing);
        let id = stored(&world, 3).await;
        abandon(&world, id).await;
        let mut called = gated(&queue, "Other", Act::Succeed, Arc::new(Semaphore::new(1))).await;
        enqueue_on(&world.ctx.db, ampout::jobs::Job::new("Other", json!(1))).await.unwrap();
        let stop = CancellationToken::new();
        let running = queue.run_until(world.db(), stop.clone());
        let next = async {
            let called = tokio::time::timeout(4 * DEADLINE, called.recv()).await;
            assert_eq!(called.expect("the silence has no end"), Some(json!(1)));
        };
        tokio::select! { () = running => unreachable!("nobody stopped it"), () = next => {} }
        assert_eq!(status(&world, id).await, "processing");
    })
    .await;
}

#[tokio::test]
async fn what_an_operator_cancels_or_clears_is_given_up_unless_it_had_ended() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, note);
        let stands = async |id: Uuid, status: &str| {
            world.sql("UPDATE jobs SET status = $1 WHERE id = $2", [status.into(), id.into()]).await;
        };
        for ended in ["completed", "failed", "cancelled"] {
            stands(stored(&world, 1).await, ended).await;
        }
        let runs = stored(&world, 1).await;
        stands(runs, "processing").await;
        queue.cancel_jobs_by_name("Another").await.unwrap();
        queue.cancel_jobs_by_name(WORKER).await.unwrap();
        queue
            .clear_by_status(vec![JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled])
            .await
            .unwrap();
        assert_eq!((status(&world, runs).await.as_str(), noted(&world).await), ("processing", false));

        let again = "UPDATE accounts SET email = 'alice@example.com' WHERE email = '7'";
        queue.clear().await.unwrap();
        assert!(noted(&world).await, "whoever runs it has lost it");
        world.sql(again, []).await;
        let waits = stored(&world, 1).await;
        queue.cancel_jobs_by_name(WORKER).await.unwrap();
        assert_eq!((status(&world, waits).await.as_str(), noted(&world).await), ("cancelled", true));
        world.sql(again, []).await;
        stored(&world, 1).await;
        queue.clear_jobs_older_than(0, Some(&vec![JobStatus::Queued])).await.unwrap();
        assert!(noted(&world).await);
        assert_eq!(status(&world, waits).await, "cancelled");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_given_up_stays_and_the_operator_hears_of_it() {
    world(async |world| {
        let queue = queue(&world);
        queue.when_given_up(WORKER, refuse);
        let id = stored(&world, 1).await;
        queue.cancel_jobs_by_name(WORKER).await.unwrap_err();
        queue.clear().await.unwrap_err();
        assert_eq!((status(&world, id).await.as_str(), noted(&world).await), ("queued", false));
    })
    .await;
}

#[tokio::test]
async fn as_many_as_there_are_are_cancelled_and_cleared() {
    world(async |world| {
        let queue = queue(&world);
        for _ in 0..101 {
            stored(&world, 1).await;
        }
        queue.cancel_jobs_by_name(WORKER).await.unwrap();
        let left = "SELECT count(*) FROM jobs WHERE name = 'Probe' AND status = $1";
        assert_eq!(world.number(left, ["cancelled".into()]).await, 101);
        queue.clear().await.unwrap();
        assert_eq!(world.number("SELECT count(*) FROM jobs", []).await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_enroll_job_that_is_given_up_says_so_to_its_owner_and_goes_on_when_it_is_retried() {
    world(async |world| {
        let campaign = world.alice.campaign(&json!({})).await;
        let import = world.import(&world.alice, 3, "x.example").await;
        let (account, id) = (world.alice.account_id.parse::<Uuid>().unwrap(), Uuid::now_v7());
        let text = "INSERT INTO enroll_jobs (id, account_id, campaign_id, contact_import_id, batch_size, status, \
                    processed, enrolled, skipped_count, batch_number, batches, created_at) \
                    VALUES ($1, $2, $3, $4, 100, 'processing', 0, 0, 0, 0, 0, 0)";
        world.sql(text, [id.into(), account.into(), campaign.into(), import.into()]).await;
        let args = json!({ "account_id": account, "enroll_job_id": id });
        let job = ampout::jobs::Job { max_attempts: 1, ..ampout::jobs::Job::new("EnrollImport", args) };
        enqueue_on(&world.ctx.db, job).await.unwrap();
        // Every attempt to enroll fails from now on.
        world.sql("ALTER TABLE batches RENAME TO batches_away", []).await;
        let queue = ampout::jobs::DbQueue::of(&world.ctx).unwrap();
        ampout::workers::register(&world.ctx, world.ctx.queue_provider.as_ref().unwrap()).await.unwrap();
        let failed = "SELECT count(*) FROM enroll_jobs WHERE status = 'failed'";
        let given_up =
            eventually(DEADLINE, || async { (world.number(failed, []).await == 1).then_some(()) });
        run_until(&world, &queue, given_up).await.unwrap();
        let seen = world.alice.seen(&format!("/campaigns/{campaign}/enroll_jobs/{id}")).await;
        assert_eq!(seen["status"], "failed");

        world.sql("ALTER TABLE batches_away RENAME TO batches", []).await;
        assert_eq!(queue.retry_failed(None).await.unwrap(), 1);
        let done = "SELECT count(*) FROM enroll_jobs WHERE status = 'completed'";
        let completed = eventually(DEADLINE, || async { (world.number(done, []).await == 1).then_some(()) });
        run_until(&world, &queue, completed).await.unwrap();
        let seen = world.alice.seen(&format!("/campaigns/{campaign}/enroll_jobs/{id}")).await;
        assert_eq!((&seen["status"], &seen["enrolled"]), (&json!("completed"), &json!(3)));
    })
    .await;
}

#[tokio::test]
async fn an_enroll_job_whose_row_or_campaign_is_gone_is_done_at_its_first_attempt() {
    world(async |world| {
        let (alice, bob) = (&world.alice, &world.bob);
        let (mine, theirs) = (alice.campaign(&json!({})).await, bob.campaign(&json!({})).await);
        let import = world.import(bob, 3, "x.example").await;
        let unknown = Uuid::now_v7();
        let text = "INSERT INTO enroll_jobs (id, account_id, campaign_id, contact_import_id, batch_size, status, \
                    processed, enrolled, skipped_count, batch_number, batches, created_at) \
                    VALUES ($1, $2, $3, $4, 100, 'processing', 0, 0, 0, 0, 0, 0)";
        let (orphan, account) = (Uuid::now_v7(), bob.account_id.parse::<Uuid>().unwrap());
        world.sql(text, [orphan.into(), account.into(), theirs.into(), import.into()]).await;
        bob.delete(&format!("/campaigns/{theirs}")).await.assert_status_ok();
        for (owner, row) in [(alice, unknown), (bob, orphan)] {
            let args = json!({ "account_id": owner.account_id, "enroll_job_id": row });
            enqueue_on(&world.ctx.db, ampout::jobs::Job::new("EnrollImport", args)).await.unwrap();
        }
        let queue = ampout::jobs::DbQueue::of(&world.ctx).unwrap();
        ampout::workers::register(&world.ctx, world.ctx.queue_provider.as_ref().unwrap()).await.unwrap();
        let tried = "SELECT count(*) FROM jobs WHERE name = 'EnrollImport' AND attempts = 1 AND status <> 'processing'";
        let ended = eventually(DEADLINE, || async { (world.number(tried, []).await == 2).then_some(()) });
        run_until(&world, &queue, ended).await.unwrap();
        let done = "SELECT count(*) FROM jobs WHERE name = 'EnrollImport' AND status = 'completed'";
        assert_eq!(world.number(done, []).await, 2);
        let failed = "SELECT count(*) FROM enroll_jobs WHERE status = 'failed'";
        assert_eq!(world.number(failed, []).await, 1, "the job of a campaign that was deleted says so");
        assert_eq!(alice.seen(&format!("/campaigns/{mine}")).await["totals"]["pending"], 0);
    })
    .await;
}
