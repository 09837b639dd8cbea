//! Test sends: real mails to chosen addresses, counted, refused where somebody unsubscribed.

use axum::http::StatusCode;
use serde_json::{Value, json};
use testkit::sink::{Behaviour, Sink, Stage};
use uuid::Uuid;

use crate::support::{
    Client, World,
    campaigns::{contact, credential, step},
    world,
};

fn id(text: &str) -> sea_orm::Value {
    text.parse::<Uuid>().unwrap().into()
}

/// A campaign of two steps whose credential leads to the sink.
async fn campaign(client: &Client, sink: &Sink) -> String {
    campaign_of(client, sink, &[step(1), step(2)]).await
}

async fn campaign_of(client: &Client, sink: &Sink, steps: &[Value]) -> String {
    let mut lane = credential();
    lane["smtp_port"] = json!(sink.port());
    let body = json!({"campaign": {"name": "Test", "smtp_credentials": [lane], "sequence_steps": steps}});
    client.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned()
}

async fn send(client: &Client, campaign: &str, body: Value) -> Value {
    client.post(&format!("/campaigns/{campaign}/test_send"), &body).await.json()
}

async fn quota(w: &World) -> (i64, i64) {
    let of = |column| format!("SELECT COALESCE(MAX({column}), 0) FROM account_periods WHERE account_id = $1");
    let account = || [id(&w.alice.account_id)];
    (w.number(&of("sends"), account()).await, w.number(&of("reserved"), account()).await)
}

#[tokio::test]
async fn each_step_goes_to_each_address_and_counts_as_a_send() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        let person = contact(&w, &w.alice, "jo@example.com").await;
        let body =
            json!({"emails": ["me@example.com", "You@example.com", "ME@example.com"], "contact_id": person});
        let sent = send(&w.alice, &campaign, body).await;
        assert_eq!(
            sent,
            json!({"results": [
                {"email": "me@example.com", "position": 1, "status": "sent", "error": null},
                {"email": "me@example.com", "position": 2, "status": "sent", "error": null},
                {"email": "You@example.com", "position": 1, "status": "sent", "error": null},
                {"email": "You@example.com", "position": 2, "status": "sent", "error": null}
            ]})
        );
        assert_eq!(sink.count(), 4);
        let first = sink.messages_to("me@example.com").remove(0);
        assert_eq!(first.subject().unwrap(), "Hi <b>Jo</b> 1");
        assert!(first.header("List-Unsubscribe").unwrap().contains("/u/"));
        assert!(!first.html().unwrap().contains("<img"));
        assert_eq!(sink.connections().len(), 1);
        assert_eq!(quota(&w).await, (4, 0));
        assert_eq!(w.number("SELECT count(*) FROM enrollments", []).await, 0);
        let one = send(&w.alice, &campaign, json!({"emails": ["me@example.com"], "position": 2})).await;
        assert_eq!(
            one["results"],
            json!([{"email": "me@example.com", "position": 2, "status": "sent", "error": null}])
        );
    })
    .await;
}

#[tokio::test]
async fn a_contacts_values_fill_a_test_and_without_one_a_samples_with_the_address() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut words = step(1);
        words["body_html"] = json!("<p>{{ first_name }} at {{ email }}</p>");
        let campaign = campaign_of(&w.alice, &sink, &[words]).await;
        let person = contact(&w, &w.alice, "jo@example.com").await;
        send(&w.alice, &campaign, json!({"emails": ["me@example.com"]})).await;
        send(&w.alice, &campaign, json!({"emails": ["me@example.com"], "contact_id": person})).await;
        let html =
            sink.messages_to("me@example.com").iter().map(|mail| mail.html().unwrap()).collect::<String>();
        for expected in ["Jane at me@example.com", "&lt;b&gt;Jo&lt;/b&gt; at jo@example.com"] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    })
    .await;
}

/// Closed before it served, a connection says that the server cannot be used.
#[tokio::test]
async fn a_connection_that_served_and_is_closed_is_replaced_once() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        let closes = || Behaviour::Close(Stage::Rcpt);
        sink.script("me@example.com", vec![Behaviour::Accept, closes(), Behaviour::Accept]);
        let sent = send(&w.alice, &campaign, json!({"emails": ["me@example.com"]})).await;
        let status = |sent: &Value, nth: usize| sent["results"][nth]["status"].clone();
        assert_eq!((status(&sent, 0), status(&sent, 1)), (json!("sent"), json!("sent")), "{sent}");
        assert_eq!((sink.count(), sink.connections().len()), (2, 2));
        sink.script("you@example.com", vec![closes(), Behaviour::Accept]);
        let sent = send(&w.alice, &campaign, json!({"emails": ["you@example.com"], "position": 1})).await;
        assert_eq!(status(&sent, 0), "failed", "{sent}");
        assert_eq!(sink.connections().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_accepted_is_told_and_gives_its_send_back() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        sink.script("no@example.com", vec![Behaviour::reject(550)]);
        sink.script("lost@example.com", vec![Behaviour::Close(Stage::Dot)]);
        let emails = ["no@example.com", "lost@example.com", "ok@example.com", "reject-data-554@example.com"];
        let body = json!({"emails": emails, "position": 1});
        let sent = send(&w.alice, &campaign, body).await;
        let results = sent["results"].as_array().unwrap();
        assert_eq!(results[0]["error"], "550 5.1.1 no such mailbox");
        assert_eq!(results[1]["error"], "the server did not say whether it took the message");
        assert_eq!((&results[2]["status"], &results[2]["error"]), (&json!("sent"), &Value::Null));
        assert_eq!(results[3]["error"], "554 5.6.0 message refused");
        assert_eq!(w.number("SELECT count(*) FROM test_messages WHERE state = 'failed'", []).await, 2);
        // The one of which nobody knows keeps its place in the plan.
        assert_eq!(quota(&w).await, (1, 1));
        let gone = json!({"emails": ["a@example.com", "b@example.com"], "position": 1});
        drop(sink);
        let failed = send(&w.alice, &campaign, gone).await;
        assert_eq!(failed["results"][0]["error"], "connect_failed");
        assert_eq!(failed["results"][1]["error"], "connect_failed");
        assert_eq!(quota(&w).await, (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_test_needs_addresses_that_are_valid_and_a_step_that_is_there() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        assert_eq!(send(&w.alice, &campaign, json!({})).await["code"], "no_emails_provided");
        assert_eq!(send(&w.alice, &campaign, json!({"emails": []})).await["code"], "no_emails_provided");
        let bad = send(&w.alice, &campaign, json!({"emails": ["x", "a@example.com"], "position": 3})).await;
        assert_eq!(bad["message"], "Emails is invalid, Position must be less than or equal to 2");
        let many: Vec<String> = (0..11).map(|n| format!("a{n}@example.com")).collect();
        assert_eq!(send(&w.alice, &campaign, json!({"emails": many})).await["code"], "validation_failed");
        let person = contact(&w, &w.bob, "jo@example.com").await;
        let theirs = json!({"emails": ["a@example.com"], "contact_id": person});
        assert_eq!(send(&w.alice, &campaign, theirs).await["code"], "contact_not_found");
        let stranger = send(&w.bob, &campaign, json!({"emails": ["a@example.com"]})).await;
        assert_eq!(stranger["code"], "campaign_not_found");
        assert_eq!(sink.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn nobody_who_unsubscribed_is_sent_a_test() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        let account: Uuid = w.alice.account_id.parse().unwrap();
        let hash = w.state().suppression_key.hash(account, "gone@example.com");
        w.sql(
            "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, 0)",
            [account.into(), hash.to_vec().into()],
        )
        .await;
        let refused = send(&w.alice, &campaign, json!({"emails": ["Gone@example.com"]})).await;
        assert_eq!(
            (&refused["code"], &refused["details"]["reason"]),
            (&json!("unprocessable"), &json!("unsubscribed"))
        );
        let person = contact(&w, &w.alice, "left@example.com").await;
        w.sql("UPDATE contacts SET unsubscribed_at = 1 WHERE id = $1", [person.into()]).await;
        for body in [
            json!({"emails": ["left@example.com"]}),
            json!({"emails": ["a@example.com"], "contact_id": person}),
        ] {
            assert_eq!(send(&w.alice, &campaign, body).await["code"], "unprocessable");
        }
        assert_eq!((sink.count(), quota(&w).await), (0, (0, 0)));
    })
    .await;
}

#[tokio::test]
async fn the_plan_and_a_missing_credential_stop_a_test_before_anything_is_sent() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        send(&w.alice, &campaign, json!({"emails": ["a@example.com"], "position": 1})).await;
        w.sql("UPDATE account_periods SET sends = 99 WHERE account_id = $1", [id(&w.alice.account_id)]).await;
        let answer = w
            .alice
            .post(&format!("/campaigns/{campaign}/test_send"), &json!({"emails": ["a@example.com"]}))
            .await;
        answer.assert_status(StatusCode::PAYMENT_REQUIRED);
        assert_eq!(
            answer.json::<Value>()["details"],
            json!({"current_period_sends": 99, "monthly_limit": 100, "plan_slug": "free"})
        );
        w.sql("UPDATE smtp_credentials SET disabled_at = 1", []).await;
        let refused = send(&w.alice, &campaign, json!({"emails": ["a@example.com"]})).await;
        assert_eq!(refused["code"], "unprocessable");
        assert_eq!(sink.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_dead_requests_messages_are_given_up_once_and_nothing_is_lost_of_the_count() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        send(&w.alice, &campaign, json!({"emails": ["a@example.com"]})).await;
        let one = "(SELECT id FROM test_messages WHERE position = 1)";
        w.sql(&format!("UPDATE test_messages SET locked_until = 0, state = 'claimed' WHERE id IN {one}"), [])
            .await;
        w.sql(
            &format!("UPDATE test_messages SET locked_until = 0, state = 'sending' WHERE id NOT IN {one}"),
            [],
        )
        .await;
        w.sql("UPDATE account_periods SET reserved = 2", []).await;
        for given_up in [2, 0] {
            let tx = std::sync::Arc::new(w.db().begin().await.unwrap());
            let conn = ampout::tenancy::Conn::Tx(std::sync::Arc::clone(&tx));
            let system = ampout::tenancy::SystemScope::new(conn);
            let count = ampout::models::test_messages::give_up_stale(&system, 10).await.unwrap();
            assert_eq!(count, given_up);
            drop(system);
            std::sync::Arc::into_inner(tx).unwrap().commit().await.unwrap();
        }
        assert_eq!(quota(&w).await, (2, 1));
        assert_eq!(w.number("SELECT count(*) FROM test_messages WHERE state = 'uncertain'", []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn verifying_tells_for_each_server_whether_its_login_works() {
    world(|w| async move {
        let sink = Sink::builder().auth("user", "hunter2-smtp").start().await.unwrap();
        let campaign = campaign(&w.alice, &sink).await;
        let one = w.alice.credential_of(&campaign).await;
        let path = format!("/campaigns/{campaign}/smtp_credentials/{one}");
        let verify = async || w.alice.made(&format!("{path}/verify"), &json!({})).await;
        assert_eq!(verify().await, json!({"smtp": {"ok": true, "error": null}, "imap": null}));
        let changes = json!({"smtp_credential": {"smtp_password": "wrong", "imap_host": "127.0.0.1", "imap_port": 1,
            "imap_username": "u", "imap_password": "p"}});
        w.alice.patch(&path, &changes).await.assert_status_ok();
        assert_eq!(
            verify().await,
            json!({"smtp": {"ok": false, "error": "auth_failed"}, "imap": {"ok": false, "error": "connect_failed"}})
        );
        w.bob.post(&format!("{path}/verify"), &json!({})).await.assert_status(StatusCode::NOT_FOUND);
        assert_eq!(sink.count(), 0);
    })
    .await;
}
