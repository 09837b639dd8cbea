//! A message of which nobody knows what became, and what settles it.

use serde_json::Value as Json;

use super::{Sent, enrollments, fixture, sent, until};

const PEOPLE: &[&str] = &["close-after-dot@example.test"];

async fn row(s: &Sent) -> Json {
    enrollments(&s.w.alice, &s.campaigns[0]).await.remove(0)
}

/// One delivery of alice's is settled, bob's is not, and the limits say the same.
async fn assert_settled(s: &Sent, state: &str) {
    let path = format!("/campaigns/{}/deliveries", s.campaigns[0]);
    assert_eq!(s.w.alice.seen(&path).await[0]["state"], state);
    assert_eq!(s.w.alice.seen(&format!("/campaigns/{}", s.campaigns[0])).await["uncertain"], 0);
    let bob = s.w.bob.seen(&format!("/campaigns/{}", s.campaigns[1])).await;
    assert_eq!(bob["uncertain"], 1);
    let sums = "SELECT CAST(sum(sends) * 10 + sum(reserved) AS bigint) FROM account_periods";
    assert_eq!(s.w.number(sums, []).await, 11, "one sent, one still reserved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_that_it_arrived() {
    sent(PEOPLE, |s| async move {
        s.imaps[0].deliver(fixture("reply_plain", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        until(&s.w, "SELECT CAST(sum(replied) AS bigint) FROM campaign_totals", 1).await;
        assert_settled(&s, "sent").await;
        let row = row(&s).await;
        assert_eq!((row["status"].as_str(), &row["next_send_at"]), (Some("replied"), &Json::Null));
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_of_failure_says_that_it_bounced() {
    sent(PEOPLE, |s| async move {
        s.imaps[0].deliver(fixture("bounce_postfix", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        until(&s.w, "SELECT CAST(sum(bounced) AS bigint) FROM campaign_totals", 1).await;
        assert_settled(&s, "bounced").await;
        assert_eq!(row(&s).await["status"], "bounced");
        s.engine.stop().await;
    })
    .await;
}

/// Its pixel's path, in what alice sent.
fn pixel(s: &Sent) -> String {
    let messages = s.sink.messages_to(PEOPLE[0]);
    let mine = messages.iter().find(|message| message.from == "alice@sender.test").unwrap();
    let html = mine.html().unwrap();
    let at = html.find("/o/").unwrap();
    html[at..].chars().take_while(|c| !matches!(c, '"' | '\'' | ' ')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_says_that_it_arrived_and_the_sequence_goes_on() {
    sent(PEOPLE, |s| async move {
        s.w.alice.get(&pixel(&s)).await.assert_status_ok();
        until(&s.w, "SELECT CAST(sum(opened) AS bigint) FROM campaign_totals", 1).await;
        assert_settled(&s, "sent").await;
        let row = row(&s).await;
        assert_eq!((row["status"].as_str(), row["current_step"].as_i64()), (Some("opened"), Some(1)));
        assert!(row["next_send_at"].is_string());
        s.engine.stop().await;
    })
    .await;
}

/// The open may have come while an earlier try was under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_opened_before_is_settled_by_the_next_load() {
    sent(PEOPLE, |s| async move {
        s.w.sql("UPDATE enrollments SET opened_at = 1, status = 'opened'", []).await;
        s.w.alice.get(&pixel(&s)).await.assert_status_ok();
        until(&s.w, "SELECT CAST(sum(sent) AS bigint) FROM campaign_totals", 1).await;
        assert_settled(&s, "sent").await;
        assert_eq!(
            s.w.number("SELECT CAST(sum(opened) AS bigint) FROM campaign_totals", []).await,
            0,
            "once"
        );
        s.engine.stop().await;
    })
    .await;
}
