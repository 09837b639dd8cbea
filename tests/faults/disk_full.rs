//! The disk is full while a campaign goes out. For SQLite, whose files can be bounded for one process: what cannot be
//! stored is not sent, and with room again everybody is written to once.

use sea_orm::{ConnectionTrait, DbBackend};
use testkit::{child::Child, sink::Sink, wait::eventually};

use super::heir_process;
use crate::support::{campaign::*, world};

const PEOPLE: usize = 60;
/// What the bounded process may write beyond the database as it is, in blocks of 512 bytes: a few messages' rows.
const ROOM: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_sending_and_loses_and_doubles_nothing() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        // The log goes into the file, and what the process may write is counted from there.
        w.sql("PRAGMA wal_checkpoint(TRUNCATE)", []).await;

        let whole = heir_process(&w);
        // A signal that is ignored stays so in the program: writing past the bound is an error, as on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {ROOM}; exec \"$0\" task engine");
        let bounded = Child::builder("sh").unwrap().dir(whole.path("."));
        let bounded = bounded.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_ampout"));
        let bounded = [("LOCO_ENV", "test"), ("ENGINE_DEAD_AFTER_SECONDS", "2"), ("ENGINE_POLL_MS", "50")]
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain(w.environment.clone())
            .fold(bounded, |builder, (name, value)| builder.env(name, value));
        let mut full = bounded.start().unwrap();
        full.wait_for_output("ledger commit failed", DEADLINE).await.unwrap();
        let sent = sink.count();
        assert!(sent < PEOPLE as u64, "the disk was not full");
        full.kill_9().await.unwrap();

        let _again = whole.start().unwrap();
        let seen = eventually(DEADLINE, || async {
            let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
            let done = seen["totals"]["sent"].as_u64()? + seen["uncertain"].as_u64()?;
            (done == PEOPLE as u64).then_some(seen)
        })
        .await
        .unwrap();
        assert!(seen["uncertain"].as_u64().unwrap() <= 1, "one connection, one crash: {seen}");
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}

/// SQLite rolls back by itself when a page has no room; what the process writes later must be as durable as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_after_a_full_disk_is_there_for_others() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        let write = async |sql: &str, keep: bool| {
            let tx = w.db().begin().await.unwrap();
            let written = tx.connection().execute_unprepared(sql).await;
            if keep {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }
            written
        };
        write("CREATE TABLE notes (n INTEGER)", true).await.unwrap();
        let large = "PRAGMA max_page_count = 1; INSERT INTO notes VALUES (randomblob(1000000))";
        let full = write(large, false).await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        write("PRAGMA max_page_count = 1000000000", false).await.unwrap();
        write("INSERT INTO notes VALUES (1)", false).await.unwrap();
        write("INSERT INTO notes VALUES (2)", true).await.unwrap();
        assert_eq!(w.number("SELECT sum(n) FROM notes", []).await, 2, "seen on another connection");
    })
    .await;
}
