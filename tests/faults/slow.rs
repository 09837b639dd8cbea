//! A mail server that says one byte a second. No single read is late, so only a bound on each phase as a whole ends it:
//! the lane gives up, and nothing is noted as sent that the server did not say it took.

use std::time::Duration;

use ampout::sending::{lanes::Rest, smtp::Timeouts};
use rstest::rstest;
use serde_json::Value as Json;
use testkit::sink::{Matcher, Point, Sink};

use crate::support::{campaign::*, lane::worked, world};

const PEOPLE: usize = 3;

/// Of every phase. Each byte comes in half of it, so that whoever bounds reads only would read for ever.
const PHASE: Duration = Duration::from_secs(2);

const fn timeouts() -> Timeouts {
    Timeouts {
        connect: DEADLINE,
        command: DEADLINE,
        before_data: PHASE,
        data: PHASE,
        body: DEADLINE,
        final_reply: PHASE,
        quit: PHASE,
    }
}

#[rstest]
#[case::at_the_greeting(Point::AfterConnect, campaign, "queued", 0)]
#[case::at_the_answer_to_rcpt(Point::AfterRcpt, campaign, "queued", 0)]
#[case::at_the_answer_to_data(Point::BeforeDataReply, campaign, "queued", 0)]
#[case::at_the_answer_to_data_of_a_large_message(Point::BeforeDataReply, large_campaign, "queued", 0)]
#[case::in_the_middle_of_a_large_message(Point::MidBody, large_campaign, "uncertain", 1)]
#[case::at_the_answer_to_the_final_dot(Point::AfterDot, campaign, "uncertain", 1)]
#[case::at_the_answer_to_the_final_dot_of_a_large_message(Point::AfterDot, large_campaign, "uncertain", 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_a_byte_a_second_is_given_up_and_nothing_counts_as_sent(
    #[case] point: Point,
    #[case] campaign: fn(&[Json], i32) -> Json,
    #[case] state: &'static str,
    #[case] arrived: u64,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(point, Matcher::Any);
        let people = addresses("ok", PEOPLE);
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let slowed = async {
            hold.reached(DEADLINE).await.unwrap();
            sink.drip(Duration::from_secs(1));
            hold.release();
        };
        let ((rest, served), ()) = tokio::join!(worked(&w, timeouts()), slowed);
        assert!(matches!(rest, Rest::Trouble(_)) && !served, "{rest:?}");
        let count = "SELECT count(*) FROM deliveries WHERE attempts = 0 AND state = ";
        let in_state = w.number(&format!("{count}'{state}'"), []).await;
        let queued = w.number(&format!("{count}'queued'"), []).await;
        let expected = if state == "queued" { (3, 3) } else { (1, 2) };
        assert_eq!((in_state, queued), expected);
        assert_eq!(sink.count(), arrived);
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, 0);
        let uncertain = i64::from(state == "uncertain");
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, uncertain);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_on_a_connection_that_served_is_not_dialled_anew() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let hold = sink.hold(Point::AfterRcpt, Matcher::recipient(&people[1]));
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let (rest, served) = worked(&w, timeouts()).await;
        assert!(matches!(rest, Rest::Trouble(_)) && served, "{rest:?}");
        assert_eq!((sink.count(), sink.connections().len(), hold.count()), (1, 1, 1));
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'queued'", []).await, 2);
    })
    .await;
}
