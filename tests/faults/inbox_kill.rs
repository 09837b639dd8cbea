//! kill -9 while a mail is between the mailbox and the rows, then a restart: its effect is there once.

use std::time::Duration;

use rstest::rstest;
use testkit::{imap::Imap, sink::Sink};

use super::{armed, engine_process, heir_process};
use crate::{
    inbox::{fixture, hurry, message_id, two_steps, until, with_mailbox},
    support::{campaign::*, world},
};

#[rstest]
#[case::fetched_and_nothing_begun("inbox_fetched")]
#[case::changed_and_not_committed("inbox_before_commit")]
#[case::committed_and_nothing_after("inbox_after_commit")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_fetch_and_commit_an_answer_counts_once(#[case] point: &'static str) {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        let people = addresses("ok", 1);
        let lanes = [with_mailbox(&sink, &imap, "one@sender.test")];
        let id = dispatched(&w.alice, &two_steps(&lanes), &people).await;
        let engine = engine_process(&w).env("INBOX_POLL_SECONDS", "1");
        let mut held = armed(engine, point, 0).start().unwrap();
        sink.wait_for(1, DEADLINE).await.unwrap();
        imap.deliver(fixture("reply_plain", &message_id(&sink, &people[0]), &people[0]));
        held.wait_for_file("held", DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        let before = w.number("SELECT last_uid FROM mailboxes", []).await;
        assert_eq!(before, i64::from(point == "inbox_after_commit"));

        let _again = heir_process(&w).env("INBOX_POLL_SECONDS", "1").start().unwrap();
        until(&w, "SELECT last_uid FROM mailboxes", 1).await;
        let seen = until_status(&w.alice, &id, "completed").await;
        assert_eq!(seen["totals"]["replied"], 1);
        assert_eq!(w.number("SELECT replied FROM batches WHERE dispatched_at IS NOT NULL", []).await, 1);
    })
    .await;
}
