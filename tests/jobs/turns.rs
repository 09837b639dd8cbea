//! Jobs that take long take turns: after one they go behind what waits, and on from where they were.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ampout::{
    engine::Doorbell,
    jobs::{DbQueue, ENROLL_IMPORT, Job, READ_TABLE, enqueue_on},
    workers::{EnrollImport, ImportContacts},
};
use loco_rs::bgworker::{BackgroundWorker, QueueProvider};
use serde_json::{Value as Json, json};
use testkit::wait::eventually;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Act, gated, queue, run_until};
use crate::{
    requests::csv_imports::started,
    support::{World, campaign::DEADLINE, world},
};

const QUEUED: &str = "SELECT count(*) FROM jobs WHERE status = 'queued' AND name = $1";

#[tokio::test]
async fn whose_turn_is_over_goes_behind_those_that_wait_and_no_attempt_is_counted() {
    world(async |world| {
        let (queue, places, other) =
            (queue(&world), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let mut reading = gated(&queue, READ_TABLE, Act::EndTurn, Arc::clone(&places)).await;
        let mut enrolling = gated(&queue, ENROLL_IMPORT, Act::Succeed, Arc::clone(&other)).await;
        let store = async |class: &str, account: &str| {
            let args = json!({ "account_id": account, "import_upload_id": Uuid::now_v7() });
            let job = Job { max_attempts: 1, ..Job::new(class, args) };
            enqueue_on(&world.ctx.db, job).await.unwrap().unwrap();
        };
        // Two accounts have every place, and would keep them.
        for account in [&world.alice, &world.bob, &world.alice, &world.bob] {
            store(READ_TABLE, &account.account_id).await;
        }
        run_until(&world, &queue, async {
            for _ in 0..4 {
                reading.recv().await.unwrap();
            }
            let carol = Uuid::now_v7().to_string();
            store(ENROLL_IMPORT, &carol).await;
            places.add_permits(1);
            assert_eq!(enrolling.recv().await.unwrap()["account_id"], json!(carol));
            let back = async || (world.number(QUEUED, [READ_TABLE.into()]).await == 1).then_some(());
            eventually(DEADLINE, back).await.unwrap();
            assert!(reading.try_recv().is_err(), "there is no place for it now");
            other.add_permits(1);
            reading.recv().await.unwrap();
            places.add_permits(Semaphore::MAX_PERMITS / 2);
        })
        .await;
        assert_eq!(world.number(QUEUED, [READ_TABLE.into()]).await, 4, "none has failed");
        let tried = "SELECT CAST(sum(attempts) AS bigint) FROM jobs WHERE name = $1";
        assert_eq!(world.number(tried, [READ_TABLE.into()]).await, 0);
    })
    .await;
}

/// Has a queue run this worker, and counts how often.
async fn counted<W, A>(world: &World, queue: &DbQueue) -> Arc<AtomicUsize>
where
    W: BackgroundWorker<A> + 'static,
    A: Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let (calls, worker) = (Arc::new(AtomicUsize::new(0)), Arc::new(W::build(&world.ctx)));
    let counting = Arc::clone(&calls);
    let handler = move |_id: String, args: Json| {
        let worker = Arc::clone(&worker);
        counting.fetch_add(1, Ordering::Relaxed);
        let work: Pin<Box<dyn Future<Output = loco_rs::Result<()>> + Send>> =
            Box::pin(async move { worker.perform(serde_json::from_value(args).unwrap()).await });
        work
    };
    queue.register_handler(W::class_name(), Box::new(handler)).await.unwrap();
    calls
}

/// Nobody who works for an hour is asked to do so in a test: here a turn is a slice.
fn queue_of_short_turns(world: &World) -> Arc<DbQueue> {
    let queue = DbQueue::new(world.db(), Doorbell::default(), Duration::from_millis(50));
    Arc::new(queue.with_turns_of(Duration::ZERO))
}

/// Runs the jobs of a class until both accounts' are done, at their first attempt.
async fn both_done(world: &World, queue: &DbQueue, class: &str) {
    let done = "SELECT count(*) FROM jobs WHERE status = 'completed' AND attempts = 1 AND name = $1";
    let both = eventually(DEADLINE, async || (world.number(done, [class.into()]).await == 2).then_some(()));
    run_until(world, queue, both).await.unwrap();
}

#[tokio::test]
async fn a_large_import_is_enrolled_in_turns_each_contact_once() {
    world(async |world| {
        let mut jobs = Vec::new();
        for owner in [&world.alice, &world.bob] {
            let campaign = owner.campaign(&json!({})).await;
            let import = world.import(owner, 10_001, "x.example").await;
            let job = owner.enroll(campaign, import, 3_000).await;
            jobs.push((owner, format!("/campaigns/{campaign}/enroll_jobs/{}", job["id"].as_str().unwrap())));
        }
        let queue = queue_of_short_turns(&world);
        let calls = counted::<EnrollImport, _>(&world, &queue).await;
        both_done(&world, &queue, ENROLL_IMPORT).await;
        assert_eq!(
            calls.load(Ordering::Relaxed),
            6,
            "two slices of five thousand and one of a single contact"
        );
        for (owner, path) in jobs {
            let seen = owner.seen(&path).await;
            assert_eq!((&seen["status"], &seen["enrolled"]), (&json!("completed"), &json!(10_001)));
            assert_eq!(seen["batches"], 4);
        }
    })
    .await;
}

#[tokio::test]
async fn a_table_is_read_in_turns_each_row_once() {
    world(async |world| {
        let rows: Vec<String> = (0..9_000).map(|n| format!("c{n}@x.example\n")).collect();
        let table = format!("email\n{}", rows.concat());
        let mut imports = Vec::new();
        for owner in [&world.alice, &world.bob] {
            imports.push((owner, started(&world, owner, table.clone()).await));
        }
        let queue = queue_of_short_turns(&world);
        let calls = counted::<ImportContacts, _>(&world, &queue).await;
        both_done(&world, &queue, READ_TABLE).await;
        assert!(calls.load(Ordering::Relaxed) >= 6, "each slice of four thousand rows is a turn");
        for (owner, import) in imports {
            let seen = owner.seen(&import).await;
            assert_eq!((&seen["status"], &seen["contact_count"]), (&json!("completed"), &json!(9_000)));
            assert_eq!(seen["skipped"], 0);
        }
    })
    .await;
}
