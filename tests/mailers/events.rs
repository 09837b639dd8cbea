//! Who is told of what: the owner of the account, once, and nobody else.

use ampout::{
    clock::Timestamp,
    mailers::{self, Mail},
    models::{smtp_credentials, states::DisabledReason},
    tenancy::SystemScope,
};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};
use uuid::Uuid;

use super::{DEADLINE, engine, forget_welcomes, mails, until};
use crate::support::{
    Client, World,
    campaigns::{campaign, credential},
    world,
};

/// An active campaign with so many credentials, and their ids.
async fn active(w: &World, client: &Client, name: &str, credentials: usize) -> (String, Vec<Uuid>) {
    let mut body = campaign(name);
    body["campaign"]["smtp_credentials"] = Json::from(vec![credential(); credentials]);
    let campaign = client.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
    let id: Uuid = campaign.parse().unwrap();
    w.sql("UPDATE campaigns SET status = 'active' WHERE id = $1", [id.into()]).await;
    let lanes = w.ids("SELECT id FROM smtp_credentials WHERE campaign_id = $1", [id.into()]).await;
    (campaign, lanes)
}

async fn disable(w: &World, client: &Client, lane: Uuid, reason: DisabledReason) {
    let account = client.account_id.parse().unwrap();
    SystemScope::in_transaction(&w.db(), async |system| {
        let scope = system.account(account);
        smtp_credentials::disable(&scope, lane, reason, Timestamp::now()).await
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_owner_is_welcomed_once_in_text_and_in_a_page() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let _engine = engine(&w, &sink).start().unwrap();
        sink.wait_for(2, DEADLINE).await.unwrap();
        until(&w, "completed", 2).await;
        for (client, address) in [(&w.alice, "alice@example.com"), (&w.bob, "bob@example.com")] {
            let mails = sink.messages_to(address);
            assert_eq!(mails.len(), 1);
            let mail = &mails[0];
            assert_eq!((mail.from.as_str(), mail.recipients.len()), ("no-reply@ampout.test", 1));
            assert_eq!(mail.subject().unwrap(), "Welcome to Ampout");
            assert_eq!(mail.header("Auto-Submitted").unwrap().trim(), "auto-generated");
            assert!(mail.message_id().unwrap().ends_with("@ampout.test"));
            let (text, html) = (mail.text().unwrap(), mail.html().unwrap());
            assert!(text.contains("https://mail.ampout.test/docs"), "{text}");
            assert!(html.contains("href=\"https://mail.ampout.test/docs\""), "{html}");
            for part in [&text, &html] {
                assert!(part.contains(&client.account_id), "{part}");
                assert!(!part.contains(&client.key) && !part.contains("ak_live_"), "a key is in {part}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_undone_or_repeated_mails_nobody_twice() {
    world(|w| async move {
        assert_eq!(mails(&w, "queued").await, 2);
        let signup = || w.server.post("/signup").add_header("Idempotency-Key", "once");
        for body in [json!({ "email": "carol@example.com" }), json!({ "email": "carol@example.com" })] {
            signup().json(&body).await.assert_status(StatusCode::CREATED);
        }
        assert_eq!(mails(&w, "queued").await, 3, "a replayed signup is one signup");
        let taken = w.server.post("/signup").json(&json!({ "email": "alice@example.com" })).await;
        taken.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(mails(&w, "queued").await, 3, "a refused signup welcomes nobody");
        let account = w.alice.account_id.parse().unwrap();
        SystemScope::in_transaction(&w.db(), async |system| {
            mailers::enqueue(&system.account(account), Mail::Welcome).await
        })
        .await
        .unwrap();
        assert_eq!(mails(&w, "queued").await, 3, "one event, one mail");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_is_told_of_a_disabled_mailbox_and_of_the_pause_that_follows() {
    world(|w| async move {
        forget_welcomes(&w).await;
        let (id, lanes) = active(&w, &w.alice, "<b>Spring</b> & \"more\"", 2).await;
        let (_, theirs) = active(&w, &w.bob, "<b>Spring</b> & \"more\"", 2).await;
        disable(&w, &w.alice, lanes[0], DisabledReason::Auth).await;
        disable(&w, &w.alice, lanes[0], DisabledReason::Policy).await;
        disable(&w, &w.bob, theirs[0], DisabledReason::Auth).await;
        assert_eq!(mails(&w, "queued").await, 2, "a mailbox is disabled once, and another goes on");
        disable(&w, &w.alice, lanes[1], DisabledReason::BounceRate).await;
        let sink = Sink::start().await.unwrap();
        let _engine = engine(&w, &sink).start().unwrap();
        sink.wait_for(4, DEADLINE).await.unwrap();
        until(&w, "completed", 4).await;
        assert_eq!((sink.messages_to("alice@example.com").len(), sink.count()), (3, 4));
        let told = |subject: &str| {
            let found = sink.messages_to("alice@example.com");
            found.into_iter().find(|mail| mail.subject().unwrap().starts_with(subject)).unwrap()
        };
        let paused = told("Your campaign \"<b>Spring</b> & \"more\"\" is paused");
        assert!(paused.text().unwrap().contains(&format!("/campaigns/{id}/resume")));
        assert!(paused.html().unwrap().contains("&lt;b&gt;Spring&lt;/b&gt; &amp;"), "values are escaped");
        let disabled = told("ana@sender.example no longer sends for");
        assert!(disabled.text().unwrap().contains(&format!("{id}/smtp_credentials/")));
        for mail in sink.messages() {
            assert!(!mail.html().unwrap().contains("<b>Spring"), "markup of a value");
            assert!(!String::from_utf8_lossy(&mail.raw).contains("hunter2"), "a password");
        }
    })
    .await;
}

#[tokio::test]
async fn who_pauses_a_campaign_himself_is_not_told() {
    world(|w| async move {
        forget_welcomes(&w).await;
        let (id, _) = active(&w, &w.alice, "Spring", 1).await;
        w.alice.made(&format!("/campaigns/{id}/pause"), &json!({})).await;
        assert_eq!(mails(&w, "queued").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_relay_mail_is_logged_and_without_an_owner_it_is_dropped() {
    world(|w| async move {
        let gone: Uuid = w.bob.account_id.parse().unwrap();
        w.sql("UPDATE accounts SET deleted_at = 1 WHERE id = $1", [gone.into()]).await;
        let engine = crate::faults::engine_process(&w).env("LOG_LEVEL", "info");
        let engine = engine.start().unwrap();
        // Bob's is dropped, or forgotten with his account, whichever comes first.
        let alice = "SELECT count(*) FROM jobs WHERE name = 'SendSystemMail' AND status = 'completed' AND args LIKE $1";
        let hers = format!("%{}%", w.alice.account_id);
        let open = "SELECT count(*) FROM jobs WHERE name = 'SendSystemMail' AND status IN ('queued', 'processing')";
        let done = eventually(DEADLINE, || async {
            let told = w.number(alice, [hers.clone().into()]).await == 1;
            (told && w.number(open, []).await == 0).then_some(())
        });
        done.await.unwrap();
        let log = engine.output();
        assert_eq!(log.matches("Welcome to Ampout").count(), 1, "{log}");
        assert!(log.contains(&w.alice.account_id), "{log}");
        assert!(!log.contains("alice@example.com"), "whom it is for is not in the log");
    })
    .await;
}
