//! Several connections of one lane: only where there is much to send without pauses, and what one beside the first meets is
//! not the lane's trouble.

use serde_json::json;
use testkit::{
    sink::{Auth, Behaviour, Greeting, Hold, Matcher, Point, Sink, Stage},
    wait::eventually,
};

use crate::support::{World, campaign::*, world};

/// What a claim takes at the most.
const BURST: usize = 50;

async fn plans_are_large(w: &World) {
    w.sql("UPDATE plans SET monthly_limit = 1000", []).await;
}

/// Held at the last message of the first connection's second claim, so that what comes beside it has come before it claims
/// again.
fn at_the_end_of_its_second_claim(sink: &Sink, people: &[String]) -> Hold {
    sink.hold(Point::AfterDot, Matcher::recipient(&people[2 * BURST - 1]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_with_much_to_send_uses_several_and_one_with_little_a_single_one() {
    world(|w| async move {
        plans_are_large(&w).await;
        let (sink, theirs) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        let (many, few) = (addresses("ok", 8 * BURST), addresses("ok", 2 * BURST));
        // Each waits at its first message; the first connection at the end of a claim, until the next has taken its own.
        let beside = (2..=4).map(|id| sink.hold(Point::AfterDot, Matcher::Connection(id)));
        let claims = [2, 4, 6].map(|end| Matcher::recipient(&many[end * BURST - 1]));
        let first = claims.map(|last| sink.hold(Point::AfterDot, last));
        let beside: Vec<_> = beside.collect();
        let mine = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &many).await;
        let other = dispatched(&w.bob, &campaign(&[credential(&theirs, "two@sender.test")], 1), &few).await;
        let engine = Engine::start(&w.ctx);
        for (first, beside) in first.iter().zip(&beside) {
            first.reached(DEADLINE).await.unwrap();
            beside.reached(DEADLINE).await.unwrap();
            first.release();
        }
        until_status(&w.bob, &other, "completed").await;
        // The first connection takes what is left, and no fifth comes.
        sink.wait_for(u64::try_from(many.len() - 3 * BURST + 3).unwrap(), DEADLINE).await.unwrap();
        drop(beside);
        until_status(&w.alice, &mine, "completed").await;
        engine.stop().await;
        assert_eq!((sink.connections().len(), theirs.connections().len()), (4, 1));
        for person in &many {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        nothing_is_held(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_waits_between_messages_has_a_single_connection() {
    world(|w| async move {
        plans_are_large(&w).await;
        let sink = Sink::start().await.unwrap();
        let mut waits = campaign(&[credential(&sink, "one@sender.test")], 1);
        waits["campaign"]["max_wait_seconds"] = 1.into();
        let people = addresses("ok", 2 * BURST);
        enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
        dispatched(&w.alice, &waits, &people).await;
        let held = sink.hold(Point::AfterDot, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        held.reached(DEADLINE).await.unwrap();
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'claimed'", []).await, 0);
        assert_eq!(sink.connections().len(), 1);
        held.release();
        engine.stop().await;
    })
    .await;
}

/// A lane at work on two connections, each held at the sink.
struct Two {
    sink: Sink,
    people: Vec<String>,
    id: String,
    engine: Engine,
    first: Hold,
    second: Hold,
}

/// The first is held at the end of its second claim, the second at this point.
async fn on_two(w: &World, sink: Sink, people: usize, at: Point, which: fn(&[String]) -> Matcher) -> Two {
    let people = addresses("ok", people);
    enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
    let first = at_the_end_of_its_second_claim(&sink, &people);
    let second = sink.hold(at, which(&people));
    let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
    let engine = Engine::start(&w.ctx);
    first.reached(DEADLINE).await.unwrap();
    second.reached(DEADLINE).await.unwrap();
    Two { sink, people, id, engine, first, second }
}

/// A lane whose first message is held at the sink while its second connection comes to nothing. Answers how the sink then
/// stands, and the campaign.
async fn with_a_second_that_fails(w: &World, fail: impl FnOnce(&Sink, &Hold)) -> (Sink, Vec<String>) {
    let sink = Sink::builder().auth("user", "secret").start().await.unwrap();
    let two = on_two(w, sink, 2 * BURST + 20, Point::AfterConnect, |_| Matcher::Connection(2)).await;
    fail(&two.sink, &two.second);
    let left = "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')";
    let given_back = eventually(DEADLINE, || async { (w.number(left, []).await == 1).then_some(()) });
    given_back.await.unwrap();
    two.first.release();
    until_status(&w.alice, &two.id, "completed").await;
    two.engine.stop().await;
    (two.sink, two.people)
}

async fn nothing_is_held(w: &World) {
    let held = "SELECT count(*) FROM smtp_credentials WHERE failures > 0 OR holder IS NOT NULL OR disabled_at IS NOT NULL";
    assert_eq!(w.number(held, []).await, 0);
    assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM credential_days", []).await, 0);
}

/// How many messages each connection brought.
fn by_connection(sink: &Sink) -> Vec<u64> {
    sink.connections().iter().map(|connection| connection.messages).collect()
}

async fn all_came_over_the_first(w: &World, sink: &Sink, people: &[String]) {
    assert_eq!(by_connection(sink), [u64::try_from(people.len()).unwrap(), 0], "no third is tried");
    for person in people {
        assert_eq!(sink.messages_to(person).len(), 1, "{person}");
    }
    nothing_is_held(w).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_second_connection_gets_all_over_the_first() {
    world(|w| async move {
        plans_are_large(&w).await;
        let (sink, people) = with_a_second_that_fails(&w, |sink, second| {
            sink.set_greeting(Greeting::busy());
            second.cut();
        })
        .await;
        all_came_over_the_first(&w, &sink, &people).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_login_that_is_refused_closes_no_mailbox() {
    world(|w| async move {
        plans_are_large(&w).await;
        let (sink, people) = with_a_second_that_fails(&w, |sink, second| {
            sink.set_auth(Auth::Refuse("535 5.7.8 too many sessions".to_owned()));
            second.release();
        })
        .await;
        all_came_over_the_first(&w, &sink, &people).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_them_together_keep_to_the_mailboxs_day() {
    world(|w| async move {
        plans_are_large(&w).await;
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 5 * BURST);
        let mut limited = credential(&sink, "one@sender.test");
        limited["daily_limit"] = 133.into();
        enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
        let id = dispatched(&w.alice, &campaign(&[limited], 1), &people).await;
        let first = at_the_end_of_its_second_claim(&sink, &people);
        let second = sink.hold(Point::AfterDot, Matcher::Connection(2));
        let engine = Engine::start(&w.ctx);
        first.reached(DEADLINE).await.unwrap();
        second.reached(DEADLINE).await.unwrap();
        first.release();
        second.release();
        sink.wait_for(133, DEADLINE).await.unwrap();
        let path = format!("/campaigns/{id}");
        let rested = eventually(DEADLINE, || async {
            let held = "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL";
            (w.number(held, []).await == 0).then_some(())
        });
        rested.await.unwrap();
        engine.stop().await;
        assert_eq!(sink.count(), 133);
        assert_eq!(w.alice.seen(&path).await["status"], "active");
        nothing_is_held(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_let_in_is_not_waited_for() {
    world(|w| async move {
        plans_are_large(&w).await;
        let sink = Sink::start().await.unwrap();
        let two = on_two(&w, sink, 2 * BURST + 20, Point::AfterConnect, |_| Matcher::Connection(2)).await;
        let Two { sink, id, engine, first, second: _second, .. } = two;
        first.release();
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!(
            by_connection(&sink),
            [100, 0, 20],
            "what the second had claimed goes out over the lane's next"
        );
        nothing_is_held(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_at_work_is_waited_for_when_the_first_has_ended() {
    world(|w| async move {
        plans_are_large(&w).await;
        let sink = Sink::start().await.unwrap();
        let behind_the_first = |people: &[String]| Matcher::recipient(&people[2 * BURST + 1]);
        let two = on_two(&w, sink, 2 * BURST + 20, Point::AfterRcpt, behind_the_first).await;
        let Two { sink, id, engine, first, second, .. } = two;
        first.release();
        let ended = eventually(DEADLINE, || async { sink.connections()[0].closed_at });
        ended.await.unwrap();
        second.release();
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!(by_connection(&sink), [100, 20]);
        nothing_is_held(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_a_campaign_waits_between_messages_the_first_goes_on_alone() {
    world(|w| async move {
        plans_are_large(&w).await;
        let sink = Sink::start().await.unwrap();
        let two = on_two(&w, sink, 4 * BURST, Point::AfterDot, |_| Matcher::Connection(2)).await;
        let Two { sink, id, engine, first, second, .. } = two;
        let slower = json!({ "campaign": { "min_wait_seconds": 600, "max_wait_seconds": 600 } });
        w.alice.patch(&format!("/campaigns/{id}"), &slower).await.assert_status_ok();
        second.release();
        let ended = eventually(DEADLINE, || async { sink.connections()[1].closed_at });
        ended.await.unwrap();
        first.release();
        sink.wait_for(151, DEADLINE).await.unwrap();
        engine.stop().await;
        assert_eq!(by_connection(&sink), [101, 50], "what was claimed, and one more");
        nothing_is_held(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_behind_an_accepted_message_closes_no_mailbox() {
    world(|w| async move {
        let sink = Sink::builder().auth("user", "secret").start().await.unwrap();
        let people = addresses("ok", 2);
        sink.script(&people[1], vec![Behaviour::Close(Stage::Rcpt), Behaviour::Accept]);
        enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let held = sink.hold(Point::AfterDot, Matcher::recipient(&people[0]));
        let engine = Engine::start(&w.ctx);
        held.reached(DEADLINE).await.unwrap();
        sink.set_auth(Auth::Refuse("535 5.7.8 too many sessions".to_owned()));
        held.release();
        let rests = "SELECT count(*) FROM smtp_credentials WHERE failures = 1 AND holder IS NULL";
        let rested = eventually(DEADLINE, || async { (w.number(rests, []).await == 1).then_some(()) });
        rested.await.unwrap();
        let disabled = "SELECT count(*) FROM smtp_credentials WHERE disabled_at IS NOT NULL";
        assert_eq!(w.number(disabled, []).await, 0);
        assert_eq!(sink.connections().len(), 2);
        engine.stop().await;
    })
    .await;
}
