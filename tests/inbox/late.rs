//! A notice that comes when the next step is sent already.

use std::time::Duration;

use serde_json::Value as Json;
use testkit::{imap::Imap, receiver::Receiver, sink::Sink};

use super::{fixture, hurry, with_mailbox};
use crate::{
    support::{campaign::*, world},
    webhooks::{hook, verified},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_tells_the_step_whose_message_came_back() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (imap, other) = (Imap::start().await.unwrap(), Imap::start().await.unwrap());
        let filters = ["enrollment.bounced", "enrollment.unsubscribed"];
        let (_, secret) = hook(&w.alice, &receiver, "/hook", &filters).await;
        hook(&w.bob, &receiver, "/theirs", &filters).await;
        let people = addresses("ok", 2);
        let mine = campaign(&[with_mailbox(&sink, &imap, "alice@sender.test")], 2);
        let theirs = campaign(&[with_mailbox(&sink, &other, "bob@sender.test")], 2);
        let ids = [dispatched(&w.alice, &mine, &people).await, dispatched(&w.bob, &theirs, &people).await];
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &ids[0], "completed").await;
        until_status(&w.bob, &ids[1], "completed").await;
        let first_to = |person: &str| {
            let all = sink.messages_to(person);
            let mine = all.iter().find(|message| message.from == "alice@sender.test").unwrap();
            mine.header("Message-ID").unwrap()
        };
        imap.deliver(fixture("bounce_postfix", &first_to(&people[0]), &people[0]));
        imap.deliver(fixture("complaint_arf", &first_to(&people[1]), &people[1]));
        let came = receiver.wait_for("/hook", 2, DEADLINE).await.unwrap();
        engine.stop().await;
        let bodies: Vec<Json> = came.iter().map(|request| verified(&secret, request)).collect();
        let position = |event: &str| {
            let of_event = bodies.iter().find(|body| body["type"] == event);
            of_event.map(|body| body["data"]["position"].clone())
        };
        assert_eq!(position("enrollment.bounced"), Some(1.into()));
        // Of what is about no one message: the last step that was accepted.
        assert_eq!(position("enrollment.unsubscribed"), Some(2.into()));
        assert!(receiver.requests("/theirs").is_empty());
    })
    .await;
}
