//! What comes back for an address that its contact has left: it is about the address that the message went to.

use std::time::Duration;

use serde_json::{Value as Json, json};
use testkit::{imap::Imap, receiver::Receiver, sink::Sink};

use super::{
    enrollments, fixture, hurry, message_id_from,
    providers::{hook as provider, status_of},
    with_mailbox,
};
use crate::{
    support::{World, campaign::*, world},
    webhooks::hook,
};

const OLD: &str = "Ada@example.test";
const NEW: &str = "ada@else.test";
const OTHER: &str = "grace@example.test";

/// How it is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// By a mail in the sender's mailbox.
    Mail,
    /// From a provider that names the message and, of a bounce, its recipient.
    Report,
    /// From a provider that names the recipient alone.
    Recipient,
    /// By the link in the message.
    Link,
}

/// A world in which both accounts have sent one message each to the same people, and one of them has another address since
/// in alice's.
struct Left {
    w: World,
    sink: Sink,
    imap: Imap,
    engine: Engine,
    /// Alice's campaign and Bob's.
    campaigns: [String; 2],
    contact: String,
    /// Alice's webhook.
    hook: String,
}

impl Left {
    async fn report(&self, body: &Json) {
        let path = provider(&self.w.alice).await;
        self.w.server.post(&path).json(body).await.assert_status_ok();
    }

    async fn row(&self) -> Json {
        let rows = enrollments(&self.w.alice, &self.campaigns[0]).await;
        rows.into_iter().find(|row| row["contact_id"] == self.contact.as_str()).unwrap()
    }

    async fn until_status(&self, expected: &str) {
        let sql = format!("SELECT count(*) FROM enrollments WHERE status = '{expected}'");
        super::until(&self.w, &sql, 1).await;
        assert_eq!(self.row().await["status"], expected);
    }

    /// What alice's webhook was told: the event, and of whom.
    async fn told(&self) -> Vec<(String, String)> {
        let path = format!("/webhooks/{}/deliveries", self.hook);
        let (mut told, word) = (vec![], |value: &Json| value.as_str().unwrap().to_owned());
        for delivery in self.w.alice.seen(&path).await.as_array().unwrap() {
            let shown = self.w.alice.seen(&format!("{path}/{}", word(&delivery["id"]))).await;
            told.push((word(&shown["payload"]["type"]), word(&shown["payload"]["data"]["contact_email"])));
        }
        told
    }

    /// The contact may be written to as before, and nothing happened in the other account.
    async fn assert_the_rest_is_untouched(&self) {
        let contact = self.w.alice.seen(&format!("/contacts/{}", self.contact)).await;
        assert_eq!((&contact["email"], &contact["unsubscribed_at"]), (&json!(NEW), &Json::Null));
        let campaign = campaign(&[credential(&self.sink, "alice@sender.test")], 1);
        let id = self.w.alice.made("/campaigns", &campaign).await["id"].as_str().unwrap().to_owned();
        let body = json!({ "contact_id": self.contact });
        self.w.alice.made(&format!("/campaigns/{id}/enroll_contact"), &body).await;
        assert_eq!(status_of(&self.w.alice, &self.campaigns[0], OTHER).await["status"], "sent");
        for row in enrollments(&self.w.bob, &self.campaigns[1]).await {
            assert_eq!(row["status"], "sent");
        }
        let theirs = self.w.bob.seen(&format!("/contacts?email={OLD}")).await;
        assert!(theirs[0]["unsubscribed_at"].is_null());
    }
}

async fn left<F, Fut>(test: F)
where
    F: FnOnce(Left) -> Fut,
    Fut: Future<Output = ()>,
{
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (imap, other) = (Imap::start().await.unwrap(), Imap::start().await.unwrap());
        let filters = ["enrollment.bounced", "enrollment.unsubscribed"];
        let (hook, _) = hook(&w.alice, &receiver, "/hook", &filters).await;
        let people = [OLD.to_owned(), OTHER.to_owned()];
        let mine = campaign(&[with_mailbox(&sink, &imap, "alice@sender.test")], 1);
        let theirs = campaign(&[with_mailbox(&sink, &other, "bob@sender.test")], 1);
        let campaigns =
            [dispatched(&w.alice, &mine, &people).await, dispatched(&w.bob, &theirs, &people).await];
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &campaigns[0], "completed").await;
        until_status(&w.bob, &campaigns[1], "completed").await;
        let contact =
            w.alice.seen(&format!("/contacts?email={OLD}")).await[0]["id"].as_str().unwrap().to_owned();
        let change = json!({"contact": {"email": NEW}});
        w.alice.patch(&format!("/contacts/{contact}"), &change).await.assert_status_ok();
        test(Left { w, sink, imap, engine, campaigns, contact, hook }).await;
    })
    .await;
}

#[rstest::rstest]
#[case::mail(Heard::Mail)]
#[case::report(Heard::Report)]
#[case::recipient(Heard::Recipient)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_bounce_ends_what_was_sent_and_says_nothing_of_the_new_address(#[case] heard: Heard) {
    left(|s| async move {
        let id = message_id_from(&s.sink, OLD, "alice@sender.test");
        let bounce = json!({"event": "bounce", "bounce": "hard", "rcpt": OLD.to_lowercase()});
        match heard {
            Heard::Mail => drop(s.imap.deliver(fixture("bounce_postfix", &id, OLD))),
            Heard::Report => {
                let mut named = bounce;
                named["Message-Id"] = json!(id);
                s.report(&named).await;
            }
            Heard::Recipient | Heard::Link => s.report(&bounce).await,
        }
        s.until_status("bounced").await;
        assert_eq!(s.told().await, [("enrollment.bounced".to_owned(), OLD.to_owned())]);
        let shown = s.w.alice.seen(&format!("/campaigns/{}", s.campaigns[0])).await;
        assert_eq!(
            (&shown["totals"]["bounced"], &shown["recent_bounces"][0]["email"]),
            (&json!(1), &json!(OLD))
        );
        s.assert_the_rest_is_untouched().await;
        s.engine.stop().await;
    })
    .await;
}

#[rstest::rstest]
#[case::mail(Heard::Mail)]
#[case::report(Heard::Report)]
#[case::recipient(Heard::Recipient)]
#[case::link(Heard::Link)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_complaint_is_about_the_address_that_the_message_went_to(#[case] heard: Heard) {
    left(|s| async move {
        let id = message_id_from(&s.sink, OLD, "alice@sender.test");
        match heard {
            Heard::Mail => drop(s.imap.deliver(fixture("complaint_redacted", &id, OLD))),
            Heard::Report => s.report(&json!({"event": "spam", "Message-Id": id})).await,
            Heard::Recipient => s.report(&json!({"event": "spam", "rcpt": OLD.to_lowercase()})).await,
            Heard::Link => {
                let all = s.sink.messages_to(OLD);
                let mine = all.iter().find(|message| message.from == "alice@sender.test").unwrap();
                let link = mine.header("List-Unsubscribe").unwrap();
                let path = &link[link.find("/u/").unwrap()..link.len() - 1];
                for _ in 0..2 {
                    s.w.server.post(path).await.assert_status_ok();
                }
            }
        }
        s.until_status("unsubscribed").await;
        assert_eq!(s.told().await, [("enrollment.unsubscribed".to_owned(), OLD.to_owned())]);
        assert_eq!(s.w.number("SELECT count(*) FROM suppressions", []).await, 1);
        import(&s.w.alice, &[OLD.to_owned()]).await;
        let again = s.w.alice.seen(&format!("/contacts?email={OLD}")).await;
        assert!(again[0]["unsubscribed_at"].is_string());
        s.assert_the_rest_is_untouched().await;
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_of_the_new_address_says_nothing_of_what_went_to_the_old_one() {
    left(|s| async move {
        let id = message_id_from(&s.sink, OLD, "alice@sender.test");
        s.report(&json!({"event": "bounce", "bounce": "hard", "rcpt": NEW, "Message-Id": id})).await;
        s.report(&json!({"event": "bounce", "bounce": "hard", "rcpt": NEW})).await;
        assert_eq!(s.row().await["status"], "sent");
        assert!(s.told().await.is_empty());
        s.assert_the_rest_is_untouched().await;
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_address_by_now_is_unsubscribed_with_it() {
    left(|s| async move {
        import(&s.w.alice, &[OLD.to_owned()]).await;
        let id = message_id_from(&s.sink, OLD, "alice@sender.test");
        s.report(&json!({"event": "unsubscribe", "Message-Id": id})).await;
        assert_eq!(s.row().await["status"], "unsubscribed");
        let holder = s.w.alice.seen(&format!("/contacts?email={OLD}")).await;
        assert!(holder[0]["unsubscribed_at"].is_string());
        s.assert_the_rest_is_untouched().await;
        s.engine.stop().await;
    })
    .await;
}
