//! When the connection of a lane is replaced. One that a server closes between messages is, at once, where it had served, and
//! is else a trouble of the lane.

use ampout::sending::{lanes::Rest, smtp::Timeouts};
use serde_json::json;
use testkit::sink::{Behaviour, Matcher, Point, Sink, Stage};

use crate::support::{World, campaign::*, lane::worked, world};

/// Two messages of alice's; what the server does about the first, and that it closes at the recipient of the second, once.
/// Bob has the same, and no lane that is awake.
async fn closed_after(w: &World, first: Behaviour) -> (Sink, Rest, bool) {
    let sink = Sink::start().await.unwrap();
    let people = addresses("ok", 2);
    sink.script(&people[0], vec![first]);
    sink.script(&people[1], vec![Behaviour::Close(Stage::Rcpt), Behaviour::Accept]);
    enrolled(&w.bob, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
    dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
    let (rest, served) = worked(w, Timeouts::default()).await;
    (sink, rest, served)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_served_and_is_closed_is_replaced_at_once() {
    world(|w| async move {
        let (sink, rest, served) = closed_after(&w, Behaviour::Accept).await;
        assert!(matches!(rest, Rest::UntilDue) && served, "{rest:?}");
        assert_eq!((sink.count(), sink.connections().len()), (2, 2));
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'sent'", []).await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_closed_before_it_served_is_a_trouble_of_the_lane() {
    world(|w| async move {
        let (sink, rest, served) = closed_after(&w, Behaviour::reject(550)).await;
        assert!(matches!(rest, Rest::Trouble(_)) && !served, "{rest:?}");
        assert_eq!((sink.count(), sink.connections().len()), (0, 1), "the refusal left it usable");
        let states = "SELECT count(*) FROM deliveries WHERE state = 'bounced'";
        assert_eq!(w.number(states, []).await, 1);
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'queued'", []).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_on_which_a_recipient_was_refused_goes_on() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 3);
        sink.script(&people[1], vec![Behaviour::reject(550)]);
        enrolled(&w.bob, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let (rest, served) = worked(&w, Timeouts::default()).await;
        assert!(matches!(rest, Rest::UntilDue) && served, "{rest:?}");
        assert_eq!((sink.count(), sink.connections().len()), (2, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_to_a_server_that_is_no_longer_the_lanes_is_left_at_the_next_claim() {
    world(|w| async move {
        let (before, after) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        enrolled(&w.bob, &campaign(&[credential(&before, "one@sender.test")], 1), &addresses("ok", 1)).await;
        let held = before.hold(Point::AfterRcpt, Matcher::Any);
        // One more than is claimed at once.
        let mine = campaign(&[credential(&before, "one@sender.test")], 1);
        let id = dispatched(&w.alice, &mine, &addresses("ok", 51)).await;
        let engine = Engine::start(&w.ctx);
        held.reached(DEADLINE).await.unwrap();
        let path = format!("/campaigns/{id}/smtp_credentials");
        let lane = w.alice.seen(&path).await[0]["id"].as_str().unwrap().to_owned();
        let moved = json!({ "smtp_credential": { "smtp_port": after.port() } });
        w.alice.patch(&format!("{path}/{lane}"), &moved).await.assert_status_ok();
        held.release();
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!((before.count(), after.count()), (50, 1));
    })
    .await;
}
