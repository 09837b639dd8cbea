//! What a mail provider's webhook changes: by Message-ID or by recipient, once, and in its own account only.

use serde_json::{Value as Json, json};

use super::{Sent, enrollments, sent};
use crate::support::Client;

const PEOPLE: &[&str] = &["ada@example.test", "grace@example.test"];
const DOUBTFUL: &[&str] = &["close-after-dot@example.test"];

/// The path of the account's own webhook.
pub async fn hook(client: &Client) -> String {
    let account = client.seen("/account").await;
    let url = account["inbound_webhooks"]["smtp2go"].as_str().unwrap().to_owned();
    url[url.find("/inbound/").unwrap()..].to_owned()
}

pub async fn status_of(client: &Client, campaign: &str, email: &str) -> Json {
    let contacts = client.seen(&format!("/contacts?email={email}")).await;
    let id = contacts[0]["id"].clone();
    let rows = enrollments(client, campaign).await;
    rows.into_iter().find(|row| row["contact_id"] == id).unwrap()
}

async fn report(s: &Sent, body: &Json) {
    let answer = s.w.server.post(&hook(&s.w.alice).await).json(body).await;
    assert_eq!(answer.status_code(), 200, "{}", answer.text());
    let bob = enrollments(&s.w.bob, &s.campaigns[1]).await;
    assert!(bob.iter().all(|row| row["status"] != "bounced" && row["status"] != "unsubscribed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_bounce_bounces_what_it_names_once_in_its_account() {
    sent(PEOPLE, |s| async move {
        let id = s.id_for(PEOPLE[0]);
        let bounce = |kind: &str, rcpt: &str| {
            json!({"event": "bounce", "bounce": kind, "rcpt": rcpt, "Message-Id": id, "message": "550 no user", "new": 1})
        };
        report(&s, &bounce("soft", PEOPLE[0])).await;
        report(&s, &json!({"event": "delivered", "rcpt": PEOPLE[0], "Message-Id": id})).await;
        report(&s, &json!({"event": "bounce", "bounce": "hard", "rcpt": "nobody@example.test"})).await;
        assert_eq!(status_of(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await["status"], "sent");
        for _ in 0..2 {
            report(&s, &bounce("hard", &PEOPLE[0].to_uppercase())).await;
        }
        let row = status_of(&s.w.alice, &s.campaigns[0], PEOPLE[0]).await;
        assert_eq!((&row["status"], &row["bounce_reason"]), (&json!("bounced"), &json!("550 no user")));
        assert!(row["next_send_at"].is_null());
        assert_eq!(s.w.number("SELECT CAST(sum(bounced) AS bigint) FROM credential_days", []).await, 1);
        assert_eq!(s.w.number("SELECT CAST(sum(bounced) AS bigint) FROM campaign_totals", []).await, 1);
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spam_and_unsubscribe_suppress_the_address_for_good() {
    sent(PEOPLE, |s| async move {
        let path = hook(&s.w.alice).await;
        let form = [("event", "spam"), ("rcpt", PEOPLE[0]), ("id", "7")];
        for _ in 0..2 {
            s.w.server.post(&path).form(&form).await.assert_status_ok();
        }
        report(&s, &json!({"event": "unsubscribe", "message-id": s.id_for(PEOPLE[1])})).await;
        for person in PEOPLE {
            let row = status_of(&s.w.alice, &s.campaigns[0], person).await;
            assert_eq!(row["status"], "unsubscribed");
            let contact = s.w.alice.seen(&format!("/contacts?email={person}")).await;
            assert!(contact[0]["unsubscribed_at"].is_string());
        }
        assert_eq!(s.w.number("SELECT count(*) FROM suppressions", []).await, 2);
        let theirs = s.w.bob.seen(&format!("/contacts?email={}", PEOPLE[0])).await;
        assert!(theirs[0]["unsubscribed_at"].is_null());
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_by_recipient_settles_an_uncertain_message() {
    sent(DOUBTFUL, |s| async move {
        report(&s, &json!({"event": "bounce", "bounce": "hard", "rcpt": DOUBTFUL[0]})).await;
        let path = format!("/campaigns/{}/deliveries", s.campaigns[0]);
        assert_eq!(s.w.alice.seen(&path).await[0]["state"], "bounced");
        let uncertain = |seen: Json| seen["uncertain"].clone();
        assert_eq!(uncertain(s.w.alice.seen(&format!("/campaigns/{}", s.campaigns[0])).await), 0);
        assert_eq!(uncertain(s.w.bob.seen(&format!("/campaigns/{}", s.campaigns[1])).await), 1);
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_unknown_token_is_not_found_and_a_broken_body_refused() {
    crate::support::world(|w| async move {
        let path = hook(&w.alice).await;
        let bounce = json!({"event": "bounce", "bounce": "hard", "rcpt": PEOPLE[0]});
        let mut forged = path.clone();
        forged.replace_range(forged.len() - 3.., "AAA");
        for bad in [forged.as_str(), "/inbound/smtp2go/x"] {
            let answer = w.server.post(bad).json(&bounce).await;
            assert_eq!(answer.status_code(), 404);
            assert_eq!(answer.json::<Json>()["code"], "not_found");
        }
        assert_eq!(w.server.post(&path).json(&json!([1])).await.status_code(), 400);
        assert_eq!(w.server.post(&path).json(&bounce).await.status_code(), 200);
        assert_eq!(w.server.post(&path).await.status_code(), 200);
        assert_eq!(w.server.post(&path).text("x".repeat(1_100_000)).await.status_code(), 413);
        let account: uuid::Uuid = w.alice.account_id.parse().unwrap();
        w.sql("UPDATE accounts SET deleted_at = 1 WHERE id = $1", [account.into()]).await;
        assert_eq!(w.server.post(&path).json(&bounce).await.status_code(), 404);
    })
    .await;
}
