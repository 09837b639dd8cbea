//! The database's server itself ends, without a word to its clients, and begins again under a running campaign: each
//! step reaches everybody once. For PostgreSQL, on a server of this test's own.

use sea_orm::ConnectionTrait;
use testkit::{
    postgres::{Postgres, programs},
    sink::Sink,
    wait::eventually,
};

use super::engine_process;
use crate::support::{Database, World, campaign::*, world_in};

const PEOPLE: usize = 120;
const RESTARTS: u64 = 20;

/// Ends the rests of lanes, on a connection of its own: those of the pool end with the server.
async fn rests_are_over(url: &str) {
    let Ok(db) = sea_orm::Database::connect(url).await else { return };
    let rested = "UPDATE smtp_credentials SET next_send_at = 0, wake_at = 0 WHERE holder IS NULL AND wake_at IS NOT NULL";
    db.execute_unprepared(rested).await.ok();
    db.close().await.ok();
}

async fn ends_well(w: &World, sink: &Sink, url: &str, id: &str, people: &[String]) {
    let seen = eventually(2 * DEADLINE, || async {
        rests_are_over(url).await;
        let seen = w.alice.get(&format!("/campaigns/{id}")).await;
        let body = seen.status_code().is_success().then(|| seen.json::<serde_json::Value>())?;
        (body["status"] == "completed" || body["uncertain"] != 0).then_some(body)
    })
    .await
    .unwrap();
    assert_eq!((&seen["uncertain"], &seen["totals"]["sent"]), (&0.into(), &PEOPLE.into()), "{seen}");
    for person in people {
        assert_eq!(sink.messages_to(person).len(), 2, "{person}");
    }
    let counted = w.number("SELECT sends FROM account_periods", []).await;
    assert_eq!(usize::try_from(counted).unwrap(), 2 * PEOPLE);
    assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_twenty_times_loses_and_doubles_nothing() {
    // Once in the run on PostgreSQL is enough.
    if std::env::var_os("DATABASE_URL").is_none() {
        return;
    }
    let Some(programs) = programs() else { return eprintln!("skipped: no PostgreSQL server is installed") };
    // Nothing but this machine's loss of power would need it.
    let mut server = Postgres::start(&programs, &["fsync=off"]).await.unwrap();
    let database = Database::create_at(&server.url("postgres")).await;
    let server = &mut server;
    world_in(database, &[], |w| async move {
        let url = w.environment.iter().find(|(name, _)| *name == "DATABASE_URL").unwrap().1.clone();
        w.sql("UPDATE plans SET monthly_limit = 100000", []).await;
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let lanes: Vec<_> = (0..3).map(|n| credential(&sink, &format!("lane{n}@sender.test"))).collect();
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &people).await;
        let engine = engine_process(&w).env("ENGINE_DEAD_AFTER_SECONDS", "30").start().unwrap();
        for restart in 1..=RESTARTS {
            let more = eventually(DEADLINE, || async {
                rests_are_over(&url).await;
                (sink.count() >= restart * 10).then_some(())
            });
            assert!(more.await.is_ok(), "{} came; {}", sink.count(), engine.output());
            server.restart().await.unwrap();
        }
        ends_well(&w, &sink, &url, &id, &people).await;
        drop(engine);
    })
    .await;
}
