//! kill -9 while the engine is held at each boundary of the send path, then a restart: nothing twice, nothing lost, and
//! `uncertain` exactly where a mark is stored and its outcome is not.

use rstest::rstest;
use testkit::{
    sink::{Chunking, Matcher, Point, Sink},
    wait::eventually,
};

use super::{engine_process, heir_process};
use crate::support::{campaign::*, world};

const PEOPLE: usize = 12;

#[rstest]
#[case::claimed_before_anything_was_offered("claimed", 0, 0, PEOPLE, Chunking::None)]
#[case::accepted_and_not_recorded_before_the_next_mark("before_mark", 2, 1, PEOPLE, Chunking::None)]
#[case::marked_before_data("after_mark", 2, 1, PEOPLE - 1, Chunking::None)]
#[case::marked_before_the_data_command("smtp-before-data", 2, 1, PEOPLE - 1, Chunking::None)]
#[case::before_the_final_dot("smtp-before-dot", 2, 1, PEOPLE - 1, Chunking::None)]
#[case::after_the_final_dot_without_its_reply("smtp-after-dot", 2, 1, PEOPLE, Chunking::None)]
#[case::before_the_chunk("smtp-before-dot", 2, 1, PEOPLE - 1, Chunking::Offered)]
#[case::after_the_chunk_without_its_reply("smtp-after-dot", 2, 1, PEOPLE, Chunking::Offered)]
#[case::accepted_before_the_commit("before_commit", 2, 1, PEOPLE, Chunking::None)]
#[case::recorded_and_next_marked_after_the_commit("after_commit", 2, 1, PEOPLE - 1, Chunking::None)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_a_boundary_nothing_is_lost_or_doubled(
    #[case] point: &'static str,
    #[case] passes: usize,
    #[case] uncertain: usize,
    #[case] arrived: usize,
    #[case] chunking: Chunking,
) {
    world(|w| async move {
        let sink = Sink::builder().chunking(chunking).start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;

        let engine = engine_process(&w);
        let marker = engine.path("held");
        let armed = format!("{point}={passes}*off->return({})", marker.display());
        let mut held = engine.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();

        let _again = heir_process(&w).start().unwrap();
        let path = format!("/campaigns/{id}/deliveries?limit=1000");
        let rows = eventually(DEADLINE, || async {
            let rows = w.alice.seen(&path).await;
            let count =
                |state: &str| rows.as_array().unwrap().iter().filter(|row| row["state"] == state).count();
            (count("sent") + count("uncertain") == PEOPLE).then_some(rows)
        })
        .await
        .unwrap();
        for person in &people {
            assert!(sink.messages_to(person).len() <= 1, "{person} was written to twice");
        }
        let unknown = rows.as_array().unwrap().iter().filter(|row| row["state"] == "uncertain").count();
        assert_eq!(unknown, uncertain);
        assert_eq!(sink.count(), arrived as u64);
        let sends = w.number("SELECT sends FROM account_periods", []).await;
        let reserved = w.number("SELECT reserved FROM account_periods", []).await;
        assert_eq!(
            (sends, reserved),
            (i64::try_from(PEOPLE - uncertain).unwrap(), i64::try_from(uncertain).unwrap())
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

        let engine = engine_process(&w);
        let armed = format!("{point}={}*off->return({})", passes - 1, engine.path("held").display());
        let mut held = engine.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();

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
