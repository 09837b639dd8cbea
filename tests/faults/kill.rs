//! kill -9 while the engine is held at each boundary of the send path, then a restart: nothing twice, nothing lost, and
//! `uncertain` exactly where a mark is stored and its outcome is not.

use rstest::rstest;
use testkit::{
    sink::{Chunking, Matcher, Point, Sink},
    wait::eventually,
};

use super::{engine_process, heir_process, held_at, killed_at};
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 12;

/// What the killed left in its rows: how many deliveries are claimed, marked and sent.
async fn assert_left(w: &World, left: [usize; 3]) {
    let rows = [deliveries(w, "claimed").await, deliveries(w, "sending").await, deliveries(w, "sent").await];
    assert_eq!(rows, left, "claimed, marked, sent");
}

/// Waits until another has settled everything of the killed, and looks that nobody was written to twice, that so many are
/// uncertain, and that everything says so.
async fn assert_settled(w: &World, sink: &Sink, id: &str, people: &[String], uncertain: usize) {
    let all = people.len();
    let path = format!("/campaigns/{id}/deliveries?limit=1000");
    let rows = eventually(DEADLINE, || async {
        let rows = w.alice.seen(&path).await;
        let count = |state: &str| rows.as_array().unwrap().iter().filter(|row| row["state"] == state).count();
        (count("sent") + count("uncertain") == all).then_some(rows)
    })
    .await
    .unwrap();
    for person in people {
        assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
    }
    let unknown = rows.as_array().unwrap().iter().filter(|row| row["state"] == "uncertain").count();
    assert_eq!(unknown, uncertain);
    let sends = w.number("SELECT sends FROM account_periods", []).await;
    let reserved = w.number("SELECT reserved FROM account_periods", []).await;
    assert_eq!(
        (sends, reserved),
        (i64::try_from(all - uncertain).unwrap(), i64::try_from(uncertain).unwrap())
    );
    // A campaign is completed when its last lane is left, which is after the last record.
    let status = if uncertain == 0 { "completed" } else { "active" };
    let seen = eventually(DEADLINE, || async {
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        (seen["status"] == status).then_some(seen)
    })
    .await
    .unwrap();
    assert_eq!(seen["uncertain"], uncertain);
}

/// `left`: how many were claimed, marked and sent by the rows of the killed.
#[rstest]
#[case::claimed_before_the_commit("before_commit", 0, [0, 0, 0], 0, PEOPLE, Chunking::None)]
#[case::claimed_before_anything_was_offered("claimed", 0, [12, 0, 0], 0, PEOPLE, Chunking::None)]
#[case::first_marked_before_the_commit("before_commit", 1, [12, 0, 0], 0, PEOPLE, Chunking::None)]
#[case::accepted_and_not_recorded_before_the_next_mark("before_mark", 2, [10, 1, 1], 1, PEOPLE, Chunking::None)]
#[case::marked_before_data("after_mark", 2, [9, 1, 2], 1, PEOPLE - 1, Chunking::None)]
#[case::marked_before_the_data_command("smtp-before-data", 2, [9, 1, 2], 1, PEOPLE - 1, Chunking::None)]
#[case::before_a_message_that_goes_out_with_its_dot("smtp-before-dot", 2, [9, 1, 2], 1, PEOPLE - 1, Chunking::None)]
#[case::after_the_final_dot_without_its_reply("smtp-after-dot", 2, [9, 1, 2], 1, PEOPLE, Chunking::None)]
#[case::before_the_chunk("smtp-before-dot", 2, [9, 1, 2], 1, PEOPLE - 1, Chunking::Offered)]
#[case::after_the_chunk_without_its_reply("smtp-after-dot", 2, [9, 1, 2], 1, PEOPLE, Chunking::Offered)]
#[case::accepted_before_the_commit("before_commit", 2, [11, 1, 0], 1, PEOPLE, Chunking::None)]
#[case::recorded_and_next_marked_after_the_commit("after_commit", 2, [10, 1, 1], 1, PEOPLE - 1, Chunking::None)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_boundary_nothing_is_lost_or_doubled(
    #[case] point: &'static str,
    #[case] passes: usize,
    #[case] left: [usize; 3],
    #[case] uncertain: usize,
    #[case] arrived: usize,
    #[case] chunking: Chunking,
) {
    world(|w| async move {
        let sink = Sink::builder().chunking(chunking).start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        killed_at(engine_process(&w), point, passes).await;
        assert_left(&w, left).await;

        let _again = heir_process(&w).start().unwrap();
        assert_settled(&w, &sink, &id, &people, uncertain).await;
        assert_eq!(sink.count(), arrived as u64);
    })
    .await;
}

/// The server has the message but for its dot. One that takes chunks gets a message of this size behind DATA as well.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_message_it_did_not_arrive_and_is_uncertain(
    #[values(Chunking::None, Chunking::Offered)] chunking: Chunking,
) {
    world(|w| async move {
        let sink = Sink::builder().chunking(chunking).start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let lanes = [credential(&sink, "one@sender.test")];
        let id = dispatched(&w.alice, &large_campaign(&lanes, 1), &people).await;
        let body = sink.hold(Point::MidBody, Matcher::recipient(&people[2]));
        let mut held = held_at(engine_process(&w), "smtp-before-dot", 2).await;
        body.reached(DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        assert_left(&w, [9, 1, 2]).await;
        body.release();

        let _again = heir_process(&w).start().unwrap();
        assert_settled(&w, &sink, &id, &people, 1).await;
        let written = |n: usize| sink.messages_to(&people[n]).len();
        let expected: Vec<usize> = (0..PEOPLE).map(|n| usize::from(n != 2)).collect();
        assert_eq!((0..PEOPLE).map(written).collect::<Vec<_>>(), expected);
        assert_eq!((sink.command_count("BDAT"), body.count()), (0, 1));
    })
    .await;
}

/// Three connections are on the wire when the process dies: each may leave one message whose outcome nobody knows.
#[rstest]
#[case::claimed_before_anything_was_offered("claimed", 3, 0)]
#[case::marked_before_data("after_mark", 9, 1)]
#[case::before_the_final_dot("smtp-before-dot", 9, 1)]
#[case::after_the_final_dot_without_its_reply("smtp-after-dot", 9, 1)]
#[case::accepted_before_the_commit("before_commit", 9, 0)]
#[case::recorded_and_next_marked_after_the_commit("after_commit", 9, 0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_three_lanes_at_most_one_for_each_is_uncertain(
    #[case] point: &'static str,
    #[case] passes: usize,
    #[case] least: i64,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        // A claim takes fifty: each lane has some.
        let people = addresses("ok", 120);
        w.sql("UPDATE plans SET monthly_limit = 1000", []).await;
        let lanes = ["one", "two", "three"].map(|lane| credential(&sink, &format!("{lane}@sender.test")));
        dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        killed_at(engine_process(&w), point, passes - 1).await;

        let _again = heir_process(&w).start().unwrap();
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
        eventually(DEADLINE, || async { (w.number(settled, []).await == 120).then_some(()) }).await.unwrap();
        let most = "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM deliveries WHERE state = 'uncertain' \
                    GROUP BY smtp_credential_id) AS of_lanes";
        assert!(w.number(most, []).await <= 1, "more than one for a connection");
        let uncertain = w.number("SELECT count(*) FROM deliveries WHERE state = 'uncertain'", []).await;
        assert!(uncertain >= least, "what was on the wire is known");
        let sent = w.number("SELECT count(*) FROM deliveries WHERE state = 'sent'", []).await;
        let arrived = people.iter().filter(|person| !sink.messages_to(person).is_empty()).count();
        assert!(arrived >= usize::try_from(sent).unwrap(), "one that is sent did not arrive");
        for person in &people {
            assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
        }
    })
    .await;
}

/// A lane with two connections, of which each has one message whose outcome nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_two_connections_of_a_lane_one_for_each_is_uncertain() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 200);
        w.sql("UPDATE plans SET monthly_limit = 1000", []).await;
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;

        let first = sink.hold(Point::AfterDot, Matcher::recipient(&people[99]));
        let second = sink.hold(Point::AfterDot, Matcher::Connection(2));
        let mut held = engine_process(&w).start().unwrap();
        first.reached(DEADLINE).await.unwrap();
        second.reached(DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        drop((first, second));

        let _again = heir_process(&w).start().unwrap();
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
        eventually(DEADLINE, || async { (w.number(settled, []).await == 200).then_some(()) }).await.unwrap();
        let uncertain = "SELECT count(*) FROM deliveries WHERE state = 'uncertain'";
        assert_eq!(w.number(uncertain, []).await, 2);
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
    })
    .await;
}
