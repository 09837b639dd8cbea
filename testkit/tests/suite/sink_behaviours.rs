//! What the sink does for each recipient of the table.

use std::time::{Duration, Instant};

use testkit::sink::{Behaviour, Keep, Sink, Stage};

use crate::client::{Client, SOON};

async fn pair() -> (Sink, Client) {
    let sink = Sink::start().await.unwrap();
    let client = Client::connect(sink.address()).await;
    (sink, client)
}

#[tokio::test]
async fn a_message_is_kept_as_it_was_written() {
    let (sink, mut client) = pair().await;
    client.offer("ok@test").await;
    let reply = client.say("Subject: dots\r\nMessage-ID: <1@test>\r\n\r\n..one\r\nlast\r\n.").await;
    assert_eq!(reply.code(), 250);
    let messages = sink.messages();
    let [message] = messages.as_slice() else { unreachable!("one message was sent") };
    assert_eq!(message.from, "from@test");
    assert_eq!(message.recipients, ["ok@test"]);
    assert_eq!(message.subject().unwrap(), "dots");
    assert_eq!(message.message_id().unwrap(), "1@test");
    assert_eq!(message.text().unwrap(), ".one\r\nlast\r\n");
    assert_eq!(sink.command_count("DATA"), 1);
    assert_eq!(sink.command_count("."), 1);
}

#[tokio::test]
async fn refusals_come_at_the_stage_the_address_names() {
    let (sink, mut client) = pair().await;
    for (to, code) in [
        ("reject-550@test", 550),
        ("defer-451@test", 451),
        ("defer-451@test", 451),
        ("policy-550@test", 550),
        ("reject-data-554@test", 554),
        ("defer-data-452@test", 452),
    ] {
        assert_eq!(client.send(to).await.code(), code, "{to}");
        assert_eq!(client.say("RSET").await.code(), 250);
    }
    assert_eq!(sink.count(), 0);
    assert_eq!(sink.refused().len(), 2);
    let reply = client.say("MAIL FROM:<reject-sender-550@test>").await;
    assert!(reply.0.starts_with("550 5.7.1"), "{reply:?}");
}

#[tokio::test]
async fn once_refuses_the_first_attempt_only() {
    let (sink, mut client) = pair().await;
    assert_eq!(client.send("defer-451-once@test").await.code(), 451);
    assert_eq!(client.say("RSET").await.code(), 250);
    assert_eq!(client.send("defer-451-once@test").await.code(), 250);
    assert_eq!(sink.messages_to("defer-451-once@test").len(), 1);
}

#[tokio::test]
async fn busy_answers_421_and_closes() {
    let (_sink, mut client) = pair().await;
    let [_, rcpt, data] = client.offer("busy-421@test").await;
    assert_eq!(rcpt.code(), 421);
    assert!(data.is_end());
}

#[tokio::test]
async fn closing_after_the_dot_keeps_the_message_and_closing_before_does_not() {
    let sink = Sink::start().await.unwrap();
    for (to, kept) in [("close-after-dot@test", 1), ("close-mid-body@test", 0), ("close-at-data@test", 0)] {
        let mut client = Client::connect(sink.address()).await;
        assert!(client.send(to).await.is_end(), "{to}");
        assert_eq!(sink.messages_to(to).len(), kept, "{to}");
    }
}

#[tokio::test]
async fn silence_after_the_dot_lasts_until_it_is_released() {
    let (sink, mut client) = pair().await;
    client.offer("silent-after-dot@test").await;
    client.write("Subject: a\r\n\r\nb\r\n.\r\n").await;
    sink.wait_for(1, SOON).await.unwrap();
    sink.release_silent();
    assert_eq!(client.reply().await.code(), 250);
}

#[tokio::test]
async fn slow_and_garbage_answer_late_and_wrong() {
    let (sink, mut client) = pair().await;
    let start = Instant::now();
    assert_eq!(client.send("slow-60@test").await.code(), 250);
    assert!(start.elapsed() >= Duration::from_millis(60));
    client.offer("garbage-after-dot@test").await;
    client.write("Subject: a\r\n\r\nb\r\n.\r\n").await;
    sink.wait_for(2, SOON).await.unwrap();
    assert_eq!(client.reply().await.code(), 0);
}

#[tokio::test]
async fn a_script_gives_each_attempt_its_step() {
    let (sink, mut client) = pair().await;
    let late = Behaviour::Reply { at: Stage::Data, reply: "451 4.3.0 no".to_owned() };
    sink.script("ann@test", vec![Behaviour::defer(450), late, Behaviour::Accept]);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(client.send("ann@test").await.code());
        client.say("RSET").await;
    }
    assert_eq!(codes, [450, 451, 250]);
}

#[tokio::test]
async fn the_tally_tells_doubles_without_keeping_messages() {
    let sink = Sink::builder().keep(Keep::Tally).start().await.unwrap();
    let mut client = Client::connect(sink.address()).await;
    for to in ["a@test", "b@test", "a@test", "reject-data-554@test"] {
        client.send(to).await;
    }
    let tally = sink.tally();
    assert_eq!((tally.messages, tally.recipients, tally.pairs, tally.refused), (3, 2, 2, 1));
    assert!(sink.messages().is_empty());
}
