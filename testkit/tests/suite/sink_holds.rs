//! Holding a session at each point, and what releasing and cutting do.

use std::time::Duration;

use testkit::sink::{Matcher, Point, Sink};

use crate::client::{Client, SOON};

#[tokio::test]
async fn a_message_can_be_held_at_every_point_and_goes_on_when_released() {
    let sink = Sink::start().await.unwrap();
    let to = "held@test";
    let points = [
        (Point::AfterMail, Matcher::sender("from@test")),
        (Point::AfterRcpt, Matcher::recipient(to)),
        (Point::BeforeDataReply, Matcher::recipient(to)),
        (Point::MidBody, Matcher::recipient(to)),
        (Point::AfterDot, Matcher::recipient(to)),
    ];
    for (point, matcher) in points {
        let before = sink.count();
        let hold = sink.hold(point, matcher);
        let mut client = Client::connect(sink.address()).await;
        let (sent, ()) = tokio::join!(client.send(to), async {
            hold.reached(SOON).await.unwrap();
            assert_eq!(sink.count() - before, u64::from(point == Point::AfterDot), "{point:?}");
            hold.release();
        });
        assert_eq!(sent.code(), 250, "{point:?}");
    }
}

#[tokio::test]
async fn a_connection_is_held_before_its_greeting() {
    let sink = Sink::start().await.unwrap();
    let hold = sink.hold(Point::AfterConnect, Matcher::Any);
    let mut client = Client::dial(sink.address()).await;
    hold.reached(SOON).await.unwrap();
    drop(hold);
    assert_eq!(client.reply().await.code(), 220);
}

#[tokio::test]
async fn cutting_closes_without_an_answer() {
    let sink = Sink::start().await.unwrap();
    let hold = sink.hold(Point::AfterDot, Matcher::Any);
    let mut client = Client::connect(sink.address()).await;
    let (sent, ()) = tokio::join!(client.send("a@test"), async {
        hold.reached(SOON).await.unwrap();
        hold.cut();
    });
    assert!(sent.is_end());
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn others_pass_a_hold_that_is_not_theirs() {
    let sink = Sink::start().await.unwrap();
    let hold = sink.hold(Point::AfterRcpt, Matcher::recipient("held@test"));
    let mut client = Client::connect(sink.address()).await;
    assert_eq!(client.send("other@test").await.code(), 250);
    let late = hold.reached(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_leaves_while_held_is_seen_to_leave() {
    let sink = Sink::start().await.unwrap();
    let hold = sink.hold(Point::BeforeDataReply, Matcher::Any);
    let mut client = Client::connect(sink.address()).await;
    client.write("MAIL FROM:<from@test>\r\nRCPT TO:<a@test>\r\nDATA\r\n").await;
    hold.reached(SOON).await.unwrap();
    drop(client);
    let closed = testkit::wait::eventually(SOON, || {
        let closed = sink.connections().iter().all(|connection| connection.closed_at.is_some());
        async move { closed.then_some(()) }
    });
    closed.await.unwrap();
    assert_eq!(sink.count(), 0);
}
