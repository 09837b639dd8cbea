//! The database's server itself ends, without a word to its clients, and begins again under a running campaign: each
//! step reaches everybody once. For PostgreSQL, on a server of this test's own.

use testkit::{
    postgres::{Postgres, programs},
    sink::Sink,
    wait::eventually,
};

use super::engine_process;
use crate::support::{Database, campaign::*, world_in};

const PEOPLE: usize = 120;
const RESTARTS: u64 = 20;

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
        w.sql("UPDATE plans SET monthly_limit = 100000", []).await;
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let lanes: Vec<_> = (0..3).map(|n| credential(&sink, &format!("lane{n}@sender.test"))).collect();
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &people).await;
        let engine = engine_process(&w).env("ENGINE_DEAD_AFTER_SECONDS", "30").start().unwrap();
        for restart in 1..=RESTARTS {
            let more = eventually(DEADLINE, || async {
                rests_are_over(&w).await;
                (sink.count() >= restart * 10).then_some(())
            });
            assert!(more.await.is_ok(), "{} came; {}", sink.count(), engine.output());
            server.restart().await.unwrap();
        }
        ends_well(&w, &sink, &id, &people, 2).await;
        drop(engine);
    })
    .await;
}
