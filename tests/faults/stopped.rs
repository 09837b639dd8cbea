//! A process that is stopped for longer than it may be silent, and wakes up again when another has taken over.

use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::heir_process;
use crate::support::{campaign::*, world};

const PEOPLE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_wakes_up_late_changes_nothing_that_was_taken_from_it() {
    world(|w| async move {
        // Several processes are for PostgreSQL: one that is stopped in a write holds SQLite's only one for ever.
        if w.db().backend() != sea_orm::DbBackend::Postgres {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let hold = sink.hold(Point::BeforeDataReply, Matcher::Connection(1));
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let old = heir_process(&w).start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        // One is marked, the others are claimed.
        old.stop().await.unwrap();
        let claimed = "SELECT count(*) FROM deliveries WHERE state = 'claimed'";
        assert_eq!(usize::try_from(w.number(claimed, []).await).unwrap(), PEOPLE - 1);

        let _new = heir_process(&w).start().unwrap();
        let settled = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
        eventually(DEADLINE, || async {
            (usize::try_from(w.number(settled, []).await).unwrap() == PEOPLE - 1).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'uncertain'", []).await, 1);
        let taken = w.ids("SELECT id FROM deliveries WHERE state = 'sent' ORDER BY id", []).await;
        let rows = "SELECT CAST(sum(attempts) AS bigint) FROM deliveries WHERE state = 'sent'";

        hold.release();
        old.cont().unwrap();
        // It finds that it was declared dead: what it marked was never begun, or is as it was; and it takes no lane back.
        old.terminate().ok();
        let mut old = old;
        old.wait(DEADLINE).await.unwrap();
        let still = w.ids("SELECT id FROM deliveries WHERE state = 'sent' ORDER BY id", []).await;
        assert!(taken.iter().all(|id| still.contains(id)));
        assert_eq!(usize::try_from(w.number(rows, []).await).unwrap(), still.len(), "each was tried once");
        for person in &people {
            assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
        }
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        let unknown = usize::try_from(seen["uncertain"].as_u64().unwrap()).unwrap();
        assert!(sink.count() >= PEOPLE as u64 - 1 && unknown <= 1, "{seen}");
    })
    .await;
}
