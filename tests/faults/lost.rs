//! A database that does not answer: what was committed and not confirmed is neither done twice nor lost, and what a mail
//! server said is recorded when the database is back. Nothing of this is uncertain, since the process lives.

use rstest::rstest;
use sea_orm::{ConnectionTrait, DbBackend};
use testkit::{
    child::{Builder, Child},
    proxy::Proxy,
    sink::{Hold, Matcher, Point, Sink},
    wait::eventually,
};
use tokio::net::lookup_host;
use url::Url;
use uuid::Uuid;

use super::engine_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 6;

/// A proxy before the database's server, and the database's address through it; none on SQLite, which has no line.
pub(super) async fn line(w: &World) -> Option<(Proxy, String)> {
    let (_, url) = w.environment.iter().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let mut url = Url::parse(url).unwrap();
    if !url.scheme().starts_with("postgres") {
        return None;
    }
    let server = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    let server = lookup_host(server).await.unwrap().next().unwrap();
    let proxy = Proxy::start(server).await.unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.port())).unwrap();
    Some((proxy, url.into()))
}

/// Waits for the end of the campaign, and for no rest of a lane.
async fn completed(w: &World, id: &str, engine: &Child) {
    let path = format!("/campaigns/{id}");
    let ended = eventually(DEADLINE, || async {
        rests_are_over(w).await;
        (w.alice.seen(&path).await["status"] == "completed").then_some(())
    });
    let ended = ended.await.is_ok();
    let seen = w.alice.seen(&path).await;
    assert!(ended, "{seen}\n{}", engine.output());
}

/// Every step reached everybody once, and everything says so.
async fn assert_all_went_out_once(w: &World, sink: &Sink, people: &[String], steps: usize) {
    for person in people {
        assert_eq!(sink.messages_to(person).len(), steps, "{person}");
    }
    let all = i64::try_from(people.len() * steps).unwrap();
    assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'sent'", []).await, all);
    assert_eq!(w.number("SELECT count(*) FROM deliveries", []).await, all);
    assert_eq!(w.number("SELECT sends FROM account_periods", []).await, all);
    assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
    assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM credential_days", []).await, 0);
    let people = i64::try_from(people.len()).unwrap();
    assert_eq!(w.number("SELECT sent FROM campaign_totals", []).await, people);
    assert_eq!(w.number("SELECT uncertain FROM campaign_totals", []).await, 0);
    let held = "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL";
    eventually(DEADLINE, || async { (w.number(held, []).await == 0).then_some(()) }).await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_commit_of_the_ledger_is_not_confirmed_nothing_is_lost_doubled_or_uncertain(
    #[values(0, 1, 2, 3, 4)] before: usize,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let armed = format!("commit_lost={before}*off->1*return->off");
        let engine = engine_process(&w).env("FAILPOINTS", armed).start().unwrap();
        completed(&w, &id, &engine).await;
        assert!(engine.output().contains("ledger commit failed"), "{}", engine.output());
        assert_all_went_out_once(&w, &sink, &people, 1).await;
    })
    .await;
}

/// All commits of the process: of the ledger, of taking and leaving lanes, of its life.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_loses_the_answers_of_commits_loses_and_doubles_no_mail(#[values(4, 5, 7)] nth: u64) {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let lanes = [credential(&sink, "one@sender.test"), credential(&sink, "two@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &people).await;
        // What was prepared is not spelled out when it is asked for, but in its answer.
        proxy.lose_answers_that_say(b"COMMIT", nth);
        let engine = engine_process(&w).env("DATABASE_URL", url).start().unwrap();
        completed(&w, &id, &engine).await;
        assert!(proxy.lost() > 2, "{}", engine.output());
        assert!(engine.output().contains("ledger commit failed"), "{}", engine.output());
        assert_all_went_out_once(&w, &sink, &people, 2).await;
    })
    .await;
}

/// Two mailboxes that send to half of the people each, from a process each: neither process has room for both. Both have
/// their first message on the wire.
async fn begun_by_two(w: &World, sink: &Sink, processes: [Builder; 2]) -> (String, [Child; 2], Hold) {
    let lanes = ["one", "two"].map(|name| {
        let mut lane = credential(sink, &format!("{name}@sender.test"));
        lane["daily_limit"] = (PEOPLE / 2).into();
        lane
    });
    let hold = sink.hold(Point::AfterDot, Matcher::Any);
    let id = dispatched(&w.alice, &campaign(&lanes, 2), &addresses("ok", PEOPLE)).await;
    let engines = processes.map(|process| process.env("ENGINE_CONCURRENCY", "1").start().unwrap());
    eventually(DEADLINE, || async {
        rests_are_over(w).await;
        (hold.count() == 2).then_some(())
    })
    .await
    .unwrap();
    (id, engines, hold)
}

/// Of each ledger the same one: the claim, the first mark, a record with the next mark.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_commit_of_two_ledgers_is_not_confirmed_nothing_is_lost_doubled_or_uncertain(
    #[values(0, 1, 2, 3)] before: usize,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let armed = format!("commit_lost={before}*off->1*return->off");
        let process = || engine_process(&w).env("FAILPOINTS", &armed);
        let (id, engines, hold) = begun_by_two(&w, &sink, [process(), process()]).await;
        hold.release();
        completed(&w, &id, &engines[0]).await;
        for engine in &engines {
            assert!(engine.output().contains("ledger commit failed"), "{}", engine.output());
        }
        assert_all_went_out_once(&w, &sink, &addresses("ok", PEOPLE), 2).await;
    })
    .await;
}

/// Of both processes: when lanes are taken and left, and of their lives. What a ledger says is prepared, and not seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_whose_lines_lose_the_answers_of_commits_lose_and_double_no_mail() {
    world(|w| async move {
        let (Some((one, its_url)), Some((two, other_url))) = (line(&w).await, line(&w).await) else { return };
        let sink = Sink::start().await.unwrap();
        let processes = [its_url, other_url].map(|url| engine_process(&w).env("DATABASE_URL", url));
        let (id, engines, hold) = begun_by_two(&w, &sink, processes).await;
        for line in [&one, &two] {
            line.lose_answers_that_say(b"COMMIT", 3);
            eventually(DEADLINE, || async { (line.lost() > 2).then_some(()) }).await.unwrap();
        }
        hold.release();
        completed(&w, &id, &engines[0]).await;
        assert_all_went_out_once(&w, &sink, &addresses("ok", PEOPLE), 2).await;
    })
    .await;
}

/// What a panic of the ledger's writer leaves is what a crash leaves; the loop begins anew with another writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_panics_is_replaced_and_leaves_what_a_crash_leaves() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let engine =
            engine_process(&w).env("FAILPOINTS", "before_commit=3*off->1*panic->off").start().unwrap();
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
        let all = eventually(DEADLINE, || async {
            (usize::try_from(w.number(settled, []).await).unwrap() == PEOPLE).then_some(())
        });
        assert!(all.await.is_ok(), "{}", engine.output());
        assert_eq!(w.alice.seen(&format!("/campaigns/{id}")).await["uncertain"], 1);
        for person in &people {
            assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
        }
    })
    .await;
}

#[rstest]
#[case::for_a_moment("30")]
#[case::for_longer_than_a_process_may_be_silent("2")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_said_while_the_database_was_away_is_recorded(#[case] dead_after: &'static str) {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let people = addresses("ok", PEOPLE);
        let lanes = [credential(&sink, "one@sender.test"), credential(&sink, "two@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let engine = engine_process(&w).env("DATABASE_URL", url);
        let mut engine = engine.env("ENGINE_DEAD_AFTER_SECONDS", dead_after).start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        proxy.cut();
        hold.release();
        engine.wait_for_output("outcome not recorded yet", DEADLINE).await.unwrap();
        let since = i64::from(dead_after == "2") * 2_000_000;
        let silent = format!(
            "SELECT count(*) FROM engine_processes WHERE heartbeat_at < {} - {since}",
            ampout::db::clock_sql(w.db().backend())
        );
        eventually(DEADLINE, || async { (w.number(&silent, []).await == 1).then_some(()) }).await.unwrap();
        proxy.restore();
        completed(&w, &id, &engine).await;
        assert_all_went_out_once(&w, &sink, &people, 1).await;
    })
    .await;
}

/// The commit of a claim whose line is cut may still be under way in the server when the lane is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_committed_after_its_lane_broke_down_is_given_back() {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        for sql in [
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON deliveries DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait()",
        ] {
            w.sql(sql, []).await;
        }
        let gate = w.db().begin().await.unwrap();
        gate.connection().execute_unprepared("SELECT pg_advisory_xact_lock(1)").await.unwrap();
        let engine = engine_process(&w).env("DATABASE_URL", url).start().unwrap();
        let waiting = |event: &'static str, most: i64| {
            let w = w.clone();
            async move {
                let sql = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock' AND wait_event {event}"
                );
                eventually(DEADLINE, || async { (w.number(&sql, []).await >= most).then_some(()) }).await
            }
        };
        waiting("= 'advisory'", 1).await.unwrap();
        proxy.drop_connections();
        waiting("<> 'advisory'", 1).await.unwrap();
        gate.rollback().await.unwrap();
        completed(&w, &id, &engine).await;
        assert_all_went_out_once(&w, &sink, &people, 1).await;
    })
    .await;
}

/// Whatever makes a row refuse the change: here one that a test makes.
async fn refuse_to_leave(w: &World, credential: Uuid) {
    let (sqlite, postgres) = (
        format!(
            "CREATE TRIGGER stays BEFORE UPDATE OF holder ON smtp_credentials WHEN NEW.holder IS NULL \
             AND OLD.id = x'{}' BEGIN SELECT RAISE(ABORT, 'it stays'); END",
            credential.simple()
        ),
        [
            "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'it stays'; END $$"
                .to_owned(),
            format!(
                "CREATE TRIGGER stays BEFORE UPDATE OF holder ON smtp_credentials FOR EACH ROW \
                 WHEN (NEW.holder IS NULL AND OLD.id = '{credential}') EXECUTE FUNCTION stay()"
            ),
        ],
    );
    if w.db().backend() == DbBackend::Sqlite {
        w.sql(&sqlite, []).await;
    } else {
        for sql in &postgres {
            w.sql(sql, []).await;
        }
    }
}

/// Somebody's transaction that is forgotten: on SQLite it would hold the only write there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_somebody_keeps_locked_holds_up_no_other() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Connection(1));
        let (mine, hers) = (addresses("mine", 1), addresses("hers", PEOPLE));
        let stuck = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &mine).await;
        // What waits for the lock is not silence, which would be given up after twice this.
        let engine = engine_process(&w).env("ENGINE_DEAD_AFTER_SECONDS", "60").start().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        let forgotten = w.db().begin().await.unwrap();
        let lock = format!("SELECT 1 FROM campaigns WHERE id = '{stuck}' FOR UPDATE");
        forgotten.connection().execute_unprepared(&lock).await.unwrap();
        hold.release();
        let free = campaign(&[credential(&sink, "two@sender.test")], 1);
        let id = dispatched(&w.bob, &free, &hers).await;
        until_status(&w.bob, &id, "completed").await;
        assert_eq!(w.alice.seen(&format!("/campaigns/{stuck}")).await["status"], "active");
        forgotten.rollback().await.unwrap();
        completed(&w, &stuck, &engine).await;
        for person in mine.iter().chain(&hers) {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_cannot_be_left_holds_up_no_other() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let (mine, hers) = (addresses("mine", PEOPLE), addresses("hers", PEOPLE));
        let stuck = campaign(&[credential(&sink, "one@sender.test")], 1);
        dispatched(&w.alice, &stuck, &mine).await;
        let stays = w.ids("SELECT id FROM smtp_credentials", []).await[0];
        refuse_to_leave(&w, stays).await;
        let mut engine = engine_process(&w).start().unwrap();
        engine.wait_for_output("the lane is left when the database lets it go", DEADLINE).await.unwrap();
        let free = campaign(&[credential(&sink, "two@sender.test")], 1);
        let id = dispatched(&w.bob, &free, &hers).await;
        until_status(&w.bob, &id, "completed").await;
        for person in mine.iter().chain(&hers) {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let held = "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL";
        assert_eq!(w.number(held, []).await, 1, "it is not freed behind its back");
    })
    .await;
}
