//! A process that is stopped for longer than it may be silent, and wakes up again when another has taken over: it sends
//! nothing that it did not begin before, changes nothing that was taken from it, and says of what it had begun what it knows.

use ampout::models::_entities::{
    account_periods, batches, campaign_totals, credential_days, deliveries, enrollments, smtp_credentials,
};
use rstest::rstest;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QueryOrder};
use serde_json::Value as Json;
use testkit::{
    child::Child,
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use super::heir_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 12;

/// Everything that sending writes, but for who is alive.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    deliveries: Vec<deliveries::Model>,
    enrollments: Vec<enrollments::Model>,
    lanes: Vec<smtp_credentials::Model>,
    days: Vec<credential_days::Model>,
    periods: Vec<account_periods::Model>,
    batches: Vec<batches::Model>,
    totals: Vec<campaign_totals::Model>,
}

impl Rows {
    async fn of(w: &World) -> Self {
        macro_rules! all {
            ($table:ident, $key:ident) => {
                $table::Entity::find().order_by_asc($table::Column::$key).all(&w.ctx.db).await.unwrap()
            };
        }
        Self {
            deliveries: all!(deliveries, Id),
            enrollments: all!(enrollments, Id),
            lanes: all!(smtp_credentials, Id),
            days: all!(credential_days, SmtpCredentialId),
            periods: all!(account_periods, AccountId),
            batches: all!(batches, Id),
            totals: all!(campaign_totals, CampaignId),
        }
    }
}

/// Whether a process that was stopped just now keeps no transaction open.
async fn nothing_is_open(w: &World) -> bool {
    if w.db().backend() == DbBackend::Sqlite {
        let (_, url) = w.environment.iter().find(|(name, _)| *name == "DATABASE_URL").unwrap();
        let db = sea_orm::Database::connect(url).await.unwrap();
        let write = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK";
        let is_free = db.execute_unprepared(write).await.is_ok();
        db.close().await.unwrap();
        return is_free;
    }
    let others = |state: &str| {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state {state} \
             AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    };
    // The server finishes what it was asked for before.
    let asked = others("= 'active'");
    eventually(DEADLINE, || async { (w.number(&asked, []).await == 0).then_some(()) }).await.unwrap();
    w.number(&others("<> 'idle'"), []).await == 0
}

/// Stops a process between two of its transactions: what one keeps locked would be nobody's for as long, and on SQLite that
/// is every write.
async fn stop_between_transactions(w: &World, process: &Child) {
    let stopped = eventually(DEADLINE, || async {
        process.stop().await.unwrap();
        if nothing_is_open(w).await {
            return Some(());
        }
        process.cont().unwrap();
        None
    });
    stopped.await.unwrap();
}

/// How often a process was written down: once for each of its lives.
async fn lives(w: &World, process: &Child) -> i64 {
    let sql = format!("SELECT count(*) FROM engine_processes WHERE name LIKE '%:{}'", process.id());
    w.number(&sql, []).await
}

/// Lets a process go on that was taken for dead, and waits until it lives anew: whatever it did in its first life is done
/// then. Ends it.
async fn wakes_up_and_ends(w: &World, mut process: Child) {
    process.cont().unwrap();
    let anew = eventually(DEADLINE, || async { (lives(w, &process).await == 2).then_some(()) }).await;
    assert!(anew.is_ok(), "it does not notice\n{}", process.output());
    assert!(process.output().contains("this process was declared dead"), "{}", process.output());
    process.terminate().unwrap();
    assert!(process.wait(DEADLINE).await.unwrap().success(), "{}", process.output());
}

/// A process that is stopped while its first message is held at `point`, with nothing else under way.
async fn stopped_at(w: &World, sink: &Sink, point: Point, campaign: &Json) -> (String, Child) {
    let hold = sink.hold(point, Matcher::Connection(1));
    let id = dispatched(&w.alice, campaign, &addresses("ok", PEOPLE)).await;
    let old = heir_process(w).start().unwrap();
    hold.reached(DEADLINE).await.unwrap();
    stop_between_transactions(w, &old).await;
    // What the server says now is not heard before the process goes on.
    hold.release();
    assert_eq!(lives(w, &old).await, 1, "it was declared dead before it was stopped\n{}", old.output());
    (id, old)
}

fn commands_of_the_stopped(sink: &Sink, verb: &str) -> usize {
    sink.commands().iter().filter(|command| command.connection == 1 && command.is(verb)).count()
}

fn assert_each_got_one(sink: &Sink) {
    for person in addresses("ok", PEOPLE) {
        assert_eq!(sink.messages_to(&person).len(), 1, "{person}");
    }
    assert_eq!(sink.count(), PEOPLE as u64);
}

/// Another has claimed all of it anew, and marked the first; or has sent it all.
#[rstest]
#[case::while_another_sends(true)]
#[case::when_another_has_sent_everything(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_wakes_up_late_sends_and_changes_nothing_that_was_taken_from_it(
    #[case] is_at_work: bool,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        let (id, old) = stopped_at(&w, &sink, Point::AfterRcpt, &body).await;
        assert_eq!(deliveries(&w, "claimed").await, PEOPLE, "offered, and nothing is marked");

        let others = sink.hold(Point::AfterDot, Matcher::Connection(2));
        let new = heir_process(&w).start().unwrap();
        others.reached(DEADLINE).await.unwrap();
        if !is_at_work {
            others.release();
            until_status(&w.alice, &id, "completed").await;
        }
        let taken = Rows::of(&w).await;
        wakes_up_and_ends(&w, old).await;
        assert_eq!(Rows::of(&w).await, taken, "{}", new.output());
        assert_eq!(commands_of_the_stopped(&sink, "DATA"), 0, "it sent without a mark");

        others.release();
        until_status(&w.alice, &id, "completed").await;
        assert_each_got_one(&sink);
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, 12);
        assert_eq!(w.number("SELECT sum(attempts) FROM deliveries WHERE state = 'sent'", []).await, 12);
    })
    .await;
}

/// It is marked, so that it is uncertain to whoever takes over. The process itself looks whether it is alive right before the
/// dot, and knows better then. Of a large message the server has got all but its dot.
#[rstest]
#[case::nothing_of_a_message_that_goes_out_with_its_dot(campaign, 0)]
#[case::all_but_the_dot_of_a_large_one(large_campaign, 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_had_marked_that_wakes_up_late_is_given_back_and_sent_once(
    #[case] campaign: fn(&[Json], i32) -> Json,
    #[case] bodies: usize,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let body = sink.hold(Point::MidBody, Matcher::Connection(1));
        let lanes = [credential(&sink, "one@sender.test")];
        let (id, old) = stopped_at(&w, &sink, Point::BeforeDataReply, &campaign(&lanes, 1)).await;
        assert_eq!((deliveries(&w, "claimed").await, deliveries(&w, "sending").await), (PEOPLE - 1, 1));

        let _new = heir_process(&w).start().unwrap();
        let settled = || async { (deliveries(&w, "sent").await == PEOPLE - 1).then_some(()) };
        eventually(DEADLINE, settled).await.unwrap();
        assert_eq!((deliveries(&w, "uncertain").await, sink.count()), (1, PEOPLE as u64 - 1));
        let mut taken = Rows::of(&w).await;
        wakes_up_and_ends(&w, old).await;
        let closed = || async { sink.connections()[0].closed_at };
        eventually(DEADLINE, closed).await.unwrap();
        assert_eq!((body.count(), sink.connections()[0].messages), (bodies, 0));

        until_status(&w.alice, &id, "completed").await;
        assert_each_got_one(&sink);
        let mut ended = Rows::of(&w).await;
        let back = taken.deliveries.iter().position(|row| row.token.is_some()).unwrap();
        let (before, after) = (taken.deliveries.remove(back), ended.deliveries.remove(back));
        assert_eq!((before.message_id, after.attempts), (after.message_id, 1));
        assert_eq!(ended.deliveries, taken.deliveries, "what was settled is as it was");
        assert_eq!((ended.periods[0].sends, ended.periods[0].reserved), (12, 0));
        assert_eq!((ended.totals[0].sent, ended.totals[0].uncertain), (12, 0));
    })
    .await;
}

/// It had gone out: only its answer came while the process was stopped, which settles what another found uncertain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_said_to_a_process_that_wakes_up_late_counts() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let body = campaign(&[credential(&sink, "one@sender.test")], 2);
        let (id, old) = stopped_at(&w, &sink, Point::AfterDot, &body).await;
        let _new = heir_process(&w).start().unwrap();
        let settled = || async { (deliveries(&w, "sent").await == 2 * (PEOPLE - 1)).then_some(()) };
        eventually(DEADLINE, settled).await.unwrap();
        assert_eq!((deliveries(&w, "uncertain").await, sink.count()), (1, 2 * PEOPLE as u64 - 1));
        let taken = Rows::of(&w).await;
        wakes_up_and_ends(&w, old).await;
        assert_eq!((commands_of_the_stopped(&sink, "DATA"), sink.connections()[0].messages), (1, 1));

        // Its next step follows.
        until_status(&w.alice, &id, "completed").await;
        for person in addresses("ok", PEOPLE) {
            assert_eq!(sink.messages_to(&person).len(), 2, "{person}");
        }
        let ended = Rows::of(&w).await;
        for before in &taken.deliveries {
            let row = ended.deliveries.iter().find(|row| row.id == before.id).unwrap();
            assert!(
                before.token.is_some() || before == row,
                "what was settled is as it was: {before:?} {row:?}"
            );
            assert_eq!((row.token, row.attempts), (None, 1));
        }
        assert_eq!((ended.periods[0].sends, ended.periods[0].reserved), (24, 0));
        assert_eq!((ended.totals[0].sent, ended.totals[0].uncertain), (12, 0));
    })
    .await;
}
