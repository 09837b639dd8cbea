//! Who is alive, and what follows from being declared dead.

use std::time::{Duration, Instant};

use ampout::engine::{self, Process, find_dead};
use sea_orm::TransactionTrait;
use tokio_util::sync::CancellationToken;

use crate::support::{World, world};

const DEAD_AFTER: Duration = Duration::from_secs(30);

async fn silence(world: &World, process: &Process) {
    let text = "UPDATE engine_processes SET heartbeat_at = heartbeat_at - 31000000 WHERE id = $1";
    assert_eq!(world.sql(text, [process.id.into()]).await, 1);
}

#[tokio::test]
async fn a_silent_process_is_declared_dead_once_and_knows_it() {
    world(async |world| {
        let db = &world.ctx.db;
        let silent = Process::register(&world.db(), "silent", DEAD_AFTER).await.unwrap();
        let living = Process::register(&world.db(), "living", DEAD_AFTER).await.unwrap();
        assert!(find_dead(db, DEAD_AFTER).await.unwrap().is_empty());

        silence(&world, &silent).await;
        assert_eq!(find_dead(db, DEAD_AFTER).await.unwrap(), [silent.id]);
        assert!(find_dead(db, DEAD_AFTER).await.unwrap().is_empty(), "a death is announced once");

        assert!(!silent.renew(&world.db()).await.unwrap());
        assert!(!silent.liveness.is_alive());
        assert!(living.renew(&world.db()).await.unwrap());
        assert!(living.liveness.is_alive());
    })
    .await;
}

#[tokio::test]
async fn a_death_whose_consequences_roll_back_is_announced_again() {
    world(async |world| {
        let db = &world.ctx.db;
        let silent = Process::register(&world.db(), "silent", DEAD_AFTER).await.unwrap();
        silence(&world, &silent).await;
        let undone = db.begin().await.unwrap();
        assert_eq!(find_dead(&undone, DEAD_AFTER).await.unwrap(), [silent.id]);
        undone.rollback().await.unwrap();
        assert_eq!(find_dead(db, DEAD_AFTER).await.unwrap(), [silent.id]);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_resigns_need_not_be_waited_for() {
    world(async |world| {
        let db = &world.ctx.db;
        let process = Process::register(&world.db(), "leaving", DEAD_AFTER).await.unwrap();
        process.resign(&world.db()).await.unwrap();
        assert!(!process.liveness.is_alive());
        assert_eq!(find_dead(db, DEAD_AFTER).await.unwrap(), [process.id]);
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_was_declared_dead_goes_on_under_another_id() {
    const LIVING: &str = "SELECT count(*) FROM engine_processes WHERE dead_at IS NULL AND heartbeat_at > 0";
    world(async |world| {
        let mut settings = world.state().settings.engine;
        settings.dead_after = Duration::from_secs(2);
        let stop = CancellationToken::new();
        let watched = async {
            until(async || world.number(LIVING, []).await == 1).await;
            world.sql("UPDATE engine_processes SET dead_at = heartbeat_at", []).await;
            until(async || world.number(LIVING, []).await == 1).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(engine::run(world.ctx.clone(), settings, stop.clone()), watched);
        ended.unwrap();
        assert_eq!(world.number("SELECT count(*) FROM engine_processes", []).await, 2);
        assert_eq!(world.number(LIVING, []).await, 0, "a stopped engine says so");
    })
    .await;
}

#[tokio::test]
async fn an_embedded_engine_that_cannot_start_keeps_its_server_from_serving() {
    world(async |world| {
        let settings = world.state().settings.engine;
        world.sql("ALTER TABLE engine_processes RENAME TO away", []).await;
        assert!(engine::start_embedded(&world.ctx, settings).await.is_err());
        world.sql("ALTER TABLE away RENAME TO engine_processes", []).await;
        engine::start_embedded(&world.ctx, settings).await.unwrap();
        engine::stop_embedded(&world.ctx).await;
        assert_eq!(world.number("SELECT count(*) FROM engine_processes", []).await, 1);
    })
    .await;
}

/// Asks the database again until the answer is yes.
async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "within 20 s");
    }
}
