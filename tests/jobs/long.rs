//! Jobs that may take an hour: they hold up neither short ones nor those of other accounts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ampout::{
    engine::Doorbell,
    jobs::{DbQueue, ENROLL_IMPORT, Job, READ_TABLE, enqueue_on, next_sql},
};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc::UnboundedReceiver};
use uuid::Uuid;

use super::{Act, WORKER, gated, gated_probe, probe, queue, run_until, store};
use crate::support::{World, world};

/// Slots of a process, as the queue has them.
const SLOTS: usize = 8;

/// Stores a job of a class and an account, due after those stored before.
async fn stored(world: &World, class: &str, account: &str) {
    let args = json!({ "account_id": account, "import_upload_id": Uuid::now_v7() });
    enqueue_on(&world.ctx.db, Job::new(class, args)).await.unwrap().unwrap();
}

/// Jobs that take long and run; signing up stored others.
async fn running(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM jobs WHERE status = 'processing' AND name IN ($1, $2)";
    world.number(sql, [READ_TABLE.into(), ENROLL_IMPORT.into()]).await
}

/// Whose job was begun next.
async fn begun(called: &mut UnboundedReceiver<Json>) -> String {
    called.recv().await.unwrap()["account_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn short_jobs_find_a_slot_beside_those_that_take_long_of_however_many_accounts() {
    world(async |world| {
        let (queue, gate) = (queue(&world), Arc::new(Semaphore::new(0)));
        let mut long = gated(&queue, READ_TABLE, Act::Succeed, Arc::clone(&gate)).await;
        let mut short = probe(&queue, Act::Succeed).await;
        for _ in 0..2 * SLOTS {
            stored(&world, READ_TABLE, &Uuid::now_v7().to_string()).await;
        }
        store(&world, 7).await;
        run_until(&world, &queue, async {
            assert_eq!(short.recv().await.unwrap(), json!(7));
            for _ in 0..SLOTS / 2 {
                begun(&mut long).await;
            }
            // Whoever claims again finds nothing that may run: the next short job is done, and no long one begun.
            store(&world, 8).await;
            assert_eq!(short.recv().await.unwrap(), json!(8));
            assert!(long.try_recv().is_err(), "more than half of the slots");
            gate.add_permits(2 * SLOTS);
            for _ in 0..SLOTS * 3 / 2 {
                begun(&mut long).await;
            }
        })
        .await;
        assert_eq!(running(&world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn short_jobs_take_no_place_of_those_that_take_long() {
    world(async |world| {
        let (queue, gate) = (queue(&world), Arc::new(Semaphore::new(0)));
        let mut short = gated_probe(&queue, Act::Succeed, Arc::clone(&gate)).await;
        let mut long = gated(&queue, READ_TABLE, Act::Succeed, Arc::clone(&gate)).await;
        for number in 0..4 {
            store(&world, number).await;
        }
        for _ in 0..SLOTS / 2 {
            stored(&world, READ_TABLE, &Uuid::now_v7().to_string()).await;
        }
        // All of them run at once: none ends before the gate is open.
        run_until(&world, &queue, async {
            for _ in 0..4 {
                short.recv().await.unwrap();
            }
            for _ in 0..SLOTS / 2 {
                begun(&mut long).await;
            }
            gate.add_permits(SLOTS);
        })
        .await;
        assert_eq!(running(&world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_account_has_two_that_take_long_running_and_others_do_not_wait_for_the_rest() {
    world(async |world| {
        let (alice, bob) = (&world.alice.account_id, &world.bob.account_id);
        // Nothing but its bell has this queue look again.
        let bell = Doorbell::default();
        let queue = Arc::new(DbQueue::new(world.db(), bell, Duration::from_secs(3_600)));
        let gate = Arc::new(Semaphore::new(0));
        let mut reading = gated(&queue, READ_TABLE, Act::Succeed, Arc::clone(&gate)).await;
        let mut enrolling = gated(&queue, ENROLL_IMPORT, Act::Succeed, Arc::clone(&gate)).await;
        for class in [READ_TABLE, ENROLL_IMPORT, READ_TABLE, ENROLL_IMPORT] {
            stored(&world, class, alice).await;
        }
        stored(&world, READ_TABLE, bob).await;
        run_until(&world, &queue, async {
            let mut readers = vec![begun(&mut reading).await, begun(&mut reading).await];
            readers.sort();
            let mut expected = vec![alice.clone(), bob.clone()];
            expected.sort();
            assert_eq!(readers, expected);
            assert_eq!(begun(&mut enrolling).await, *alice);
            assert_eq!(running(&world).await, 3, "two of one account and one of the other");
            gate.add_permits(5);
            assert_eq!(
                (begun(&mut reading).await, begun(&mut enrolling).await),
                (alice.clone(), alice.clone())
            );
        })
        .await;
        assert_eq!(running(&world).await, 0);
    })
    .await;
}

#[tokio::test]
async fn arguments_that_cannot_be_read_hold_up_nothing() {
    world(async |world| {
        let queue = queue(&world);
        let mut called = gated(&queue, READ_TABLE, Act::Succeed, Arc::new(Semaphore::new(SLOTS))).await;
        let mut short = probe(&queue, Act::Succeed).await;
        for args in ["no JSON", "", "{\"account_id\":"] {
            let job = enqueue_on(&world.ctx.db, Job::new(READ_TABLE, json!(null))).await.unwrap().unwrap();
            world.sql("UPDATE jobs SET args = $1 WHERE id = $2", [args.into(), job.into()]).await;
        }
        store(&world, 1).await;
        run_until(&world, &queue, async {
            assert_eq!(short.recv().await.unwrap(), json!(1));
            for _ in 0..3 {
                assert_eq!(called.recv().await.unwrap(), json!(null));
            }
        })
        .await;
    })
    .await;
}

/// Copies of a job, told apart by number.
async fn copies(world: &World, count: u32, status: &str, class: &str) {
    let backend = world.ctx.db.get_database_backend();
    let id = if backend == DbBackend::Postgres { "gen_random_uuid()" } else { "randomblob(16)" };
    let held = if status == "processing" { "9000000000000000" } else { "CAST(NULL AS bigint)" };
    let text = format!(
        "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count}) \
         INSERT INTO jobs (id, name, args, status, run_at, attempts, max_attempts, priority, locked_until, created_at, \
         updated_at) SELECT {id}, '{class}', '{{\"account_id\":\"' || n || '\"}}', '{status}', n, 1, 8, 0, {held}, n, n \
         FROM series"
    );
    assert_eq!(world.sql(&text, []).await, u64::from(count));
}

#[tokio::test]
async fn the_next_job_is_found_by_what_is_queued_and_what_runs_whatever_has_ended() {
    world(async |world| {
        for (count, status, class) in [
            (50_000, "completed", READ_TABLE),
            (50, "queued", READ_TABLE),
            (50, "queued", WORKER),
            (20, "processing", ENROLL_IMPORT),
        ] {
            copies(&world, count, status, class).await;
        }
        let (backend, mut plans) = (world.ctx.db.get_database_backend(), HashMap::new());
        let tx = world.ctx.db.begin().await.unwrap();
        if backend == DbBackend::Postgres {
            tx.execute_unprepared("ANALYZE jobs").await.unwrap();
        }
        let explain = if backend == DbBackend::Postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
        for place in [true, false] {
            let text = format!("{explain} {}", next_sql(&tx, place));
            let rows = tx.query_all_raw(Statement::from_string(backend, text)).await.unwrap();
            let column = if backend == DbBackend::Postgres { "QUERY PLAN" } else { "detail" };
            let lines: Vec<String> = rows.iter().map(|row| row.try_get("", column).unwrap()).collect();
            plans.insert(place, lines.join("\n"));
        }
        for (place, plan) in &plans {
            let whole = plan.contains("Seq Scan") || plan.lines().any(|line| line == "SCAN jobs");
            assert!(!whole && plan.contains("ix_jobs_due"), "{plan}");
            assert_eq!(plan.contains("ix_jobs_held"), *place, "{plan}");
        }
    })
    .await;
}
