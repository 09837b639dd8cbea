//! The answer to a COMMIT is lost: the mark may be stored, and nobody can tell. PostgreSQL only, where it goes by a wire.

use testkit::{
    proxy::{Direction, Proxy},
    sink::Sink,
    wait::eventually,
};

use super::engine_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 8;

/// Has the commit of the first mark wait, in the database, until the transaction that this answers has ended.
async fn hold_commits_of_marks(w: &World) -> ampout::db::WriteTx {
    w.sql(
        "CREATE FUNCTION hold_mark() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$",
        [],
    )
    .await;
    w.sql(
        "CREATE CONSTRAINT TRIGGER hold_mark AFTER UPDATE ON deliveries DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.state = 'sending') EXECUTE FUNCTION hold_mark()",
        [],
    )
    .await;
    let tx = std::sync::Arc::new(w.db().begin().await.unwrap());
    let system = ampout::tenancy::SystemScope::new(ampout::tenancy::Conn::Tx(std::sync::Arc::clone(&tx)));
    system.query("SELECT CAST(pg_advisory_xact_lock(42) AS text) AS held", []).await.unwrap();
    drop(system);
    std::sync::Arc::into_inner(tx).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_the_commit_of_a_mark_loses_and_doubles_nothing() {
    world(|w| async move {
        let Some(url) = w.environment.iter().find(|(name, _)| *name == "DATABASE_URL").map(|(_, url)| url.clone())
        else {
            return;
        };
        let Some(server) = url.strip_prefix("postgres").and_then(|rest| rest.split(['@', '/']).nth(3)) else { return };
        let proxy = Proxy::start(tokio::net::lookup_host(server).await.unwrap().next().unwrap()).await.unwrap();
        let through = url.replace(server, &proxy.address().to_string());
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let held = hold_commits_of_marks(&w).await;
        let _engine = engine_process(&w).env("DATABASE_URL", through).start().unwrap();
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                     (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually(DEADLINE, || async { (w.number(waits, []).await > 0).then_some(()) }).await.unwrap();

        proxy.hold(Direction::Down);
        held.commit().await.unwrap();
        let marked = "SELECT count(*) FROM deliveries WHERE state = 'sending'";
        eventually(DEADLINE, || async { (w.number(marked, []).await == 1).then_some(()) }).await.unwrap();
        assert_eq!(sink.count(), 0, "nothing goes before the answer");
        proxy.drop_connections();
        proxy.release(Direction::Down);

        let seen = until_status(&w.alice, &id, "completed").await;
        assert_eq!((sink.count(), seen["uncertain"].as_u64()), (PEOPLE as u64, Some(0)));
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
    })
    .await;
}
