//! The proxy between a client and the sink.

use std::time::{Duration, Instant};

use testkit::proxy::{Direction, Proxy};
use testkit::sink::Sink;
use tokio::time::timeout;

use crate::client::{Client, SOON};

async fn pair() -> (Sink, Proxy) {
    let sink = Sink::start().await.unwrap();
    let proxy = Proxy::start(sink.address()).await.unwrap();
    (sink, proxy)
}

#[tokio::test]
async fn a_cut_line_ends_old_connections_and_refuses_new_ones_until_restored() {
    let (sink, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.send("a@test").await.code(), 250);
    proxy.cut();
    assert!(client.reply().await.is_end());
    assert!(Client::dial(proxy.address()).await.reply().await.is_end());
    proxy.restore();
    let mut again = Client::connect(proxy.address()).await;
    assert_eq!(again.send("b@test").await.code(), 250);
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn dropping_connections_lets_new_ones_through() {
    let (_sink, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    proxy.drop_connections();
    assert!(client.reply().await.is_end());
    Client::connect(proxy.address()).await;
}

#[tokio::test]
async fn holding_the_way_back_lets_the_message_through_but_not_its_reply() {
    let (sink, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    client.offer("a@test").await;
    proxy.hold(Direction::Down);
    client.write("Subject: a\r\n\r\nb\r\n.\r\n").await;
    sink.wait_for(1, SOON).await.unwrap();
    assert!(timeout(Duration::from_millis(20), client.reply()).await.is_err());
    proxy.release(Direction::Down);
    assert_eq!(client.reply().await.code(), 250);
}

#[tokio::test]
async fn holding_the_way_up_keeps_what_was_sent() {
    let (sink, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    proxy.hold(Direction::Up);
    client.write("NOOP\r\n").await;
    assert!(timeout(Duration::from_millis(20), client.reply()).await.is_err());
    assert_eq!(sink.command_count("NOOP"), 0);
    proxy.restore();
    assert_eq!(client.reply().await.code(), 250);
}

#[tokio::test]
async fn a_delay_is_latency_and_does_not_limit_throughput() {
    const EACH_WAY: Duration = Duration::from_millis(50);
    let (_sink, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    proxy.delay(EACH_WAY);
    let start = Instant::now();
    for _ in 0..20 {
        client.write("NOOP\r\n").await;
    }
    for _ in 0..20 {
        assert_eq!(client.reply().await.code(), 250);
    }
    assert!(start.elapsed() >= EACH_WAY * 2);
    assert!(start.elapsed() < EACH_WAY * 2 * 10, "one round trip for all, not one for each");
}

#[tokio::test]
async fn every_nth_answer_to_a_named_request_is_lost_behind_its_effect() {
    let (sink, proxy) = pair().await;
    proxy.lose_answers(b"NOOP", 2);
    let mut client = Client::connect(proxy.address()).await;
    client.write("NOOP\r\n").await;
    assert_eq!(client.reply().await.code(), 250);
    client.write("NOOP\r\n").await;
    assert!(client.reply().await.is_end());
    assert_eq!((sink.command_count("NOOP"), proxy.lost()), (2, 1));
    let mut again = Client::connect(proxy.address()).await;
    assert_eq!(again.send("a@test").await.code(), 250);
}
