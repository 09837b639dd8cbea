//! The disk is full while a campaign goes out, or a request comes. SQLite's files can be bounded for one process, and a
//! trigger says it in PostgreSQL's place. What cannot be stored is not sent, and with room again everybody is written to once.

use sea_orm::{ConnectionTrait, DbBackend};
use serde_json::{Value, json};
use testkit::{
    child::{Builder, Child, free_port},
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::{
    answers::started, engine_process, heir_process, import_kill::post, pool::all_is_sent_once, process,
};
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 60;
/// What the bounded process may write beyond the database as it is, in blocks of 512 bytes: a few messages' rows.
const ROOM: u64 = 256;
const JSON: &str = "application/json";

/// A process that does this on the world's database, in the directory of `whole`, and may write little.
fn bounded(w: &World, whole: &Builder, does: &str) -> Builder {
    // A signal that is ignored stays so in the program: writing past the bound is an error, as on a full disk.
    let script = format!("trap '' XFSZ; ulimit -f {ROOM}; exec \"$0\" {does}");
    let bounded = Child::builder("sh").unwrap().dir(whole.path("."));
    let bounded = bounded.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_ampout"));
    let settings = [("LOCO_ENV", "test"), ("ENGINE_DEAD_AFTER_SECONDS", "30"), ("ENGINE_POLL_MS", "50")];
    let settings = settings.into_iter().map(|(name, value)| (name, value.to_owned()));
    settings.chain(w.environment.clone()).fold(bounded, |builder, (name, value)| builder.env(name, value))
}

/// The log goes into the file, and what a bounded process may write is counted anew.
async fn make_room(w: &World) {
    w.sql("PRAGMA wal_checkpoint(TRUNCATE)", []).await;
}

/// An import of more than there is room for.
fn large_import() -> Value {
    let people = addresses("someone-with-a-long-name", 2_500);
    let contacts: Vec<Value> = people.iter().map(|email| json!({ "email": email })).collect();
    json!({ "contact_import": { "name": "People", "contacts": contacts } })
}

/// How much of it is stored.
async fn stored(w: &World) -> (i64, i64, i64) {
    let count = async |table| w.number(&format!("SELECT count(*) FROM {table}"), []).await;
    (count("contacts").await, count("contact_imports").await, count("idempotency_keys").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_sending_and_loses_and_doubles_nothing() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        make_room(&w).await;

        let whole = heir_process(&w);
        let full = bounded(&w, &whole, "task engine").env("ENGINE_DEAD_AFTER_SECONDS", "2");
        let mut full = full.start().unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_room_again_the_same_process_goes_on_and_loses_and_doubles_nothing() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        make_room(&w).await;
        let whole = engine_process(&w);
        let mut engine = bounded(&w, &whole, "task engine").start().unwrap();
        engine.wait_for_output("ledger commit failed", DEADLINE).await.unwrap();
        assert!(sink.count() < PEOPLE as u64, "the disk was not full");
        // It is full again after some messages, and again.
        let seen = eventually(2 * DEADLINE, || async {
            rests_are_over(&w).await;
            make_room(&w).await;
            let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
            (seen["status"] == "completed" || seen["uncertain"] != 0).then_some(seen)
        })
        .await
        .unwrap();
        assert_eq!((&seen["uncertain"], &seen["totals"]["sent"]), (&0.into(), &PEOPLE.into()), "{seen}");
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let counted = "SELECT count(*) FROM account_periods WHERE sends = $1 AND reserved = 0";
        assert_eq!(w.number(counted, [i64::try_from(PEOPLE).unwrap().into()]).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_has_no_room_for_is_refused_for_a_moment_and_comes_whole_with_its_repetition() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Sqlite {
            return;
        }
        make_room(&w).await;
        let port = free_port().unwrap();
        let whole = process(&w);
        let api = bounded(&w, &whole, "start").env("PORT", port.to_string());
        let _api = started(&api, port).await;
        let (import, small) = (large_import(), json!({ "outreach": { "name": "One" } }));
        for _ in 0..2 {
            let (status, _, text) =
                post(port, &w.alice.key, "/contact_imports", JSON, import.to_string()).await;
            assert_eq!((status, text.contains("service_unavailable")), (503, true), "{text}");
            assert_eq!(stored(&w).await, (0, 0, 0));
        }
        // What there is room for is stored, by the same process.
        make_room(&w).await;
        let (status, _, text) = post(port, &w.bob.key, "/outreaches", JSON, small.to_string()).await;
        assert_eq!(status, 201, "{text}");
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);

        // Another process has room for all of it.
        let again = w.server.post("/contact_imports").authorization_bearer(&w.alice.key);
        let again = again.add_header("idempotency-key", "k1").json(&import).await;
        assert_eq!(again.status_code(), 201, "{}", again.text());
        assert_eq!(stored(&w).await, (2_500, 1, 2));
    })
    .await;
}

/// The trigger counts how often it refused: a sequence keeps what is rolled back.
async fn fill_the_disk(w: &World, table: &str) {
    for sql in [
        "CREATE SEQUENCE refusals",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('refusals'); \
         RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
        &format!(
            "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} \
             FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
        ),
    ] {
        w.sql(sql, []).await;
    }
}

async fn refusals(w: &World) -> i64 {
    w.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals", []).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_has_no_room_for_is_refused_for_a_moment_and_comes_whole_with_its_repetition() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        fill_the_disk(&w, "contacts").await;
        let import = large_import();
        let send = || async {
            let request = w.server.post("/contact_imports").authorization_bearer(&w.alice.key);
            request.add_header("idempotency-key", "k1").json(&import).await
        };
        let refused = send().await;
        assert_eq!(refused.status_code(), 503, "{}", refused.text());
        assert_eq!(refused.json::<Value>()["code"], "service_unavailable");
        assert!(refused.header("retry-after").to_str().unwrap().parse::<u32>().unwrap() > 0);
        assert!(refusals(&w).await > 0);
        assert_eq!(stored(&w).await, (0, 0, 0));
        w.sql("DROP TRIGGER refuse ON contacts", []).await;
        assert_eq!(send().await.status_code(), 201);
        assert_eq!(stored(&w).await, (2_500, 1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_has_no_room_nothing_is_sent_and_then_nothing_is_lost_or_doubled() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        let (sink, theirs) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        let people = addresses("ok", PEOPLE);
        let hold = sink.hold(Point::AfterDot, Matcher::recipient(&people[9]));
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        let mine = dispatched(&w.alice, &body, &people).await;
        let engine = Engine::start(&w.ctx);
        hold.reached(DEADLINE).await.unwrap();
        let before = sink.count();
        fill_the_disk(&w, "deliveries").await;
        let body = campaign(&[credential(&theirs, "two@sender.test")], 1);
        let of_bob = dispatched(&w.bob, &body, &people).await;
        hold.release();
        // The record of what was accepted is tried again and again, and nothing is marked without it.
        eventually(DEADLINE, || async { (refusals(&w).await >= 5).then_some(()) }).await.unwrap();
        assert_eq!((sink.count(), theirs.count()), (before, 0));
        w.sql("DROP TRIGGER refuse ON deliveries", []).await;

        all_is_sent_once(&w, &people, [(&w.alice, &mine, &sink), (&w.bob, &of_bob, &theirs)]).await;
        engine.stop().await;
    })
    .await;
}
