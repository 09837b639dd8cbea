//! A database that does not answer: what was committed and not confirmed is neither done twice nor lost, and what a mail
//! server said is recorded when the database is back. Nothing of this is uncertain, since the process lives.

use rstest::rstest;
use testkit::{
    child::Child,
    proxy::Proxy,
    sink::{Matcher, Point, Sink},
    wait::eventually,
};
use tokio::net::lookup_host;
use url::Url;

use super::engine_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 6;

/// A proxy before the database's server, and the database's address through it; none on SQLite, which has no line.
async fn line(w: &World) -> Option<(Proxy, String)> {
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
        let rested = "UPDATE smtp_credentials SET next_send_at = 0, wake_at = 0 \
                      WHERE holder IS NULL AND wake_at IS NOT NULL";
        w.sql(rested, []).await;
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
    assert_eq!(w.number("SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL", []).await, 0);
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
        proxy.lose_answers(b"COMMIT", nth);
        let engine = engine_process(&w).env("DATABASE_URL", url).start().unwrap();
        completed(&w, &id, &engine).await;
        assert!(proxy.lost() > 2, "{}", engine.output());
        assert_all_went_out_once(&w, &sink, &people, 2).await;
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
