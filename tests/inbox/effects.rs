//! Answers, notices and complaints: what each changes, and that nothing of another account does.

use serde_json::Value as Json;

use super::{Sent, enrollments, fixture, sent};
use crate::support::Client;

const PEOPLE: &[&str] = &["ada@example.test", "grace@example.test"];

async fn one(client: &Client, campaign: &str, email: &str) -> Json {
    let contacts = client.seen(&format!("/contacts?email={email}")).await;
    let id = contacts[0]["id"].clone();
    enrollments(client, campaign).await.into_iter().find(|row| row["contact_id"] == id).unwrap()
}

async fn totals(client: &Client, campaign: &str) -> Json {
    client.seen(&format!("/campaigns/{campaign}")).await["totals"].clone()
}

/// Nothing happened to what the other account sent.
async fn assert_bob_is_untouched(s: &Sent) {
    for row in enrollments(&s.w.bob, &s.campaigns[1]).await {
        assert_eq!(row["status"], "sent");
        assert_eq!(row["current_step"], 1);
        assert!(row["next_send_at"].is_string());
    }
    assert_eq!(s.w.number("SELECT count(*) FROM enrollments WHERE auto_replied_at IS NOT NULL", []).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_stops_the_sequence_in_its_own_account_only() {
    sent(PEOPLE, |s| async move {
        let answer = fixture("reply_plain", &s.id_for(PEOPLE[0]), PEOPLE[0]);
        // The same mail in the other account's mailbox quotes what that account did not send.
        s.imaps[1].deliver(&answer);
        s.until_read().await;
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["replied"], 0);
        s.imaps[0].deliver(&answer);
        s.until_read().await;
        let row = one(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await;
        assert_eq!(row["status"], "replied");
        assert!(row["replied_at"].is_string());
        assert_eq!((&row["next_send_at"], &row["waiting_reason"]), (&Json::Null, &Json::Null));
        assert_eq!(one(&s.w.alice, &s.campaigns[0], PEOPLE[1]).await["status"], "sent");
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["replied"], 1);
        assert_bob_is_untouched(&s).await;
        // Nothing was marked, and no body was fetched that is none of ours.
        for command in s.imaps[0].commands() {
            assert!(!command.starts_with("SELECT") && !command.contains("STORE"), "{command}");
            assert!(!command.contains("BODY[") && !command.contains("PEEK[]"), "{command}");
        }
        assert!(s.imaps[0].count("EXAMINE INBOX") > 0);
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_bounces_whom_it_names_and_a_forged_one_nobody() {
    sent(PEOPLE, |s| async move {
        let id = s.id_for(PEOPLE[0]);
        s.imaps[0].deliver(fixture("bounce_postfix", &id, "somebody.else@example.test"));
        s.imaps[0].deliver(fixture("bounce_postfix", "unknown@sender.test", PEOPLE[0]));
        s.imaps[1].deliver(fixture("bounce_postfix", &id, PEOPLE[0]));
        s.imaps[0].deliver(fixture("delayed_postfix", &s.id_for(PEOPLE[1]), PEOPLE[1]));
        s.until_read().await;
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["bounced"], 0);
        for _ in 0..2 {
            s.imaps[0].deliver(fixture("bounce_postfix", &id, PEOPLE[0]));
        }
        s.until_read().await;
        let row = one(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await;
        assert_eq!(row["status"], "bounced");
        assert!(row["bounce_reason"].as_str().unwrap().starts_with("550 5.1.1"));
        assert_eq!(one(&s.w.alice, &s.campaigns[0], PEOPLE[1]).await["status"], "sent");
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["bounced"], 1);
        assert_eq!(s.w.number("SELECT CAST(sum(bounced) AS bigint) FROM credential_days", []).await, 1);
        let path = format!("/campaigns/{}/deliveries?state=bounced", s.campaigns[0]);
        assert_eq!(s.w.alice.seen(&path).await.as_array().unwrap().len(), 1);
        assert_bob_is_untouched(&s).await;
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machines_answer_leaves_a_note_and_nothing_else() {
    sent(PEOPLE, |s| async move {
        s.imaps[0].deliver(fixture("auto_rfc3834", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        s.until_read().await;
        let row = one(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await;
        assert_eq!(row["status"], "sent");
        assert!(row["next_send_at"].is_string());
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["replied"], 0);
        let noted = "SELECT count(*) FROM enrollments WHERE auto_replied_at IS NOT NULL";
        assert_eq!(s.w.number(noted, []).await, 1);
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_unsubscribes_for_good() {
    sent(PEOPLE, |s| async move {
        s.imaps[0].deliver(fixture("complaint_arf", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        s.imaps[0].deliver(fixture("not_spam_report", &s.id_for(PEOPLE[1]), PEOPLE[1]));
        s.until_read().await;
        assert_eq!(one(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await["status"], "unsubscribed");
        assert_eq!(one(&s.w.alice, &s.campaigns[0], PEOPLE[1]).await["status"], "sent");
        let contact = s.w.alice.seen(&format!("/contacts?email={}", PEOPLE[0])).await;
        assert!(contact[0]["unsubscribed_at"].is_string());
        assert_eq!(s.w.number("SELECT count(*) FROM suppressions", []).await, 1);
        assert_bob_is_untouched(&s).await;
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_owner_writes_into_the_thread_is_no_answer() {
    sent(PEOPLE, |s| async move {
        let by_owner = fixture("reply_plain", &s.id_for(PEOPLE[0]), "alice@sender.test");
        s.imaps[0].deliver(by_owner);
        s.until_read().await;
        assert_eq!(totals(&s.w.alice, &s.campaigns[0]).await["replied"], 0);
        s.engine.stop().await;
    })
    .await;
}
