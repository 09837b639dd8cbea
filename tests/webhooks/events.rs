//! Which events are written, what they tell, and that nothing is written where nobody listens.

use std::sync::Arc;

use ampout::{
    clock::Timestamp,
    engine::Doorbell,
    models::{opens, smtp_credentials, states::DisabledReason, suppressions},
    sending::ledger::{Marking, Outcome, Verdict},
    tenancy::{Conn, SystemScope},
};
use serde_json::{Value as Json, json};
use testkit::{receiver::Receiver, sink::Sink};

use super::{hook, until, verified};
use crate::support::{
    World,
    campaign::*,
    lane::{claim, with_bell, with_ledger, with_people},
    world,
};

async fn written(w: &World) -> i64 {
    w.number("SELECT count(*) FROM webhook_deliveries", []).await
}

/// The payloads that were written for a webhook, oldest first.
async fn payloads(w: &World, client: &crate::support::Client, id: &str) -> Vec<Json> {
    let rows = until(client, id, |rows| !rows.is_empty()).await;
    let mut found = Vec::new();
    for row in rows.iter().rev() {
        let path = format!("/webhooks/{id}/deliveries/{}", row["id"].as_str().unwrap());
        found.push(client.seen(&path).await["payload"].clone());
    }
    assert!(written(w).await >= i64::try_from(found.len()).unwrap());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_step_is_told_to_the_account_and_to_nobody_else() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (_, secret) = hook(&w.alice, &receiver, "/alice", &["*"]).await;
        hook(&w.bob, &receiver, "/bob", &["*"]).await;
        hook(&w.alice, &receiver, "/replies", &["enrollment.replied"]).await;
        let engine = Engine::start(&w.ctx);
        let lanes = [credential(&sink, "one@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &addresses("ok", 3)).await;
        until_status(&w.alice, &id, "completed").await;
        let came = receiver.wait_for("/alice", 6, DEADLINE).await.unwrap();
        let bodies: Vec<Json> = came.iter().map(|request| verified(&secret, request)).collect();
        for body in &bodies {
            assert_eq!(body["type"], "enrollment.sent");
            assert_eq!(body["account_id"], w.alice.account_id.as_str());
            let data = body["data"].as_object().unwrap();
            let fields: Vec<&str> = data.keys().map(String::as_str).collect();
            let mut expected = [
                "enrollment_id",
                "contact_id",
                "contact_email",
                "campaign_id",
                "position",
                "status",
                "sent_at",
                "opened_at",
                "replied_at",
                "unsubscribed_at",
                "bounce_reason",
            ];
            expected.sort_unstable();
            assert_eq!(fields, expected);
            assert_eq!((&data["campaign_id"], &data["status"]), (&json!(id), &json!("sent")));
            assert!(data["sent_at"].as_str().unwrap().ends_with('Z'));
        }
        for position in [1, 2] {
            let of_step = bodies.iter().filter(|body| body["data"]["position"] == position);
            assert_eq!(of_step.count(), 3, "step {position}");
        }
        engine.stop().await;
        assert_eq!(written(&w).await, 6);
        assert!(receiver.requests("/bob").is_empty() && receiver.requests("/replies").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_address_is_told_with_the_servers_words() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (hook_id, _) = hook(&w.alice, &receiver, "/hook", &["enrollment.bounced"]).await;
        let engine = Engine::start(&w.ctx);
        let lanes = [credential(&sink, "one@sender.test")];
        let people = ["ok@example.test", "reject-550@example.test"].map(str::to_owned);
        dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let told = payloads(&w, &w.alice, &hook_id).await;
        engine.stop().await;
        assert_eq!(told.len(), 1);
        let data = &told[0]["data"];
        assert_eq!((&data["status"], &data["position"]), (&json!("bounced"), &json!(1)));
        assert_eq!(data["contact_email"], "reject-550@example.test");
        assert!(data["bounce_reason"].as_str().unwrap().starts_with("550"));
    })
    .await;
}

/// A mail told of the first while its message was on its way.
#[tokio::test]
async fn a_bounce_that_is_known_is_neither_told_nor_counted_again() {
    with_people(2, |w, mine| async move {
        let receiver = Receiver::start().await.unwrap();
        hook(&w.alice, &receiver, "/hook", &["enrollment.bounced"]).await;
        let claimed = claim(&w, &mine, 2).await;
        let known = "UPDATE enrollments SET bounced_at = 1 WHERE id = $1";
        w.sql(known, [claimed[0].enrollment_id.into()]).await;
        let refused = Outcome::Bounced { reason: "550 no".into() };
        let ended = claimed.iter().map(|one| (one.ticket(), refused.clone())).collect();
        let bell = Doorbell::default();
        with_bell(&w, &bell, async |ledger| ledger.record(ended).await.unwrap()).await;
        let rung = tokio::time::timeout(DEADLINE, bell.wait(2 * DEADLINE)).await;
        assert!(rung.is_ok(), "whoever tells it is not woken");
        let of_the_other = format!("%{}%", claimed[1].enrollment_id);
        let told = "SELECT count(*) FROM webhook_deliveries WHERE payload LIKE $1";
        assert_eq!((w.number(told, [of_the_other.into()]).await, written(&w).await), (1, 1));
        let bounced = "SELECT bounced FROM campaign_totals WHERE campaign_id = $1";
        assert_eq!(w.number(bounced, [mine.campaign.into()]).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribe_that_is_found_at_the_mark_is_told_and_a_contact_that_is_gone_is_not() {
    const SUPPRESSED: [u8; 32] = [1; 32];
    with_people(2, |w, mine| async move {
        let receiver = Receiver::start().await.unwrap();
        hook(&w.alice, &receiver, "/hook", &["enrollment.unsubscribed"]).await;
        let claimed = claim(&w, &mine, 2).await;
        let suppress = "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, 0)";
        w.sql(suppress, [mine.account.into(), SUPPRESSED.to_vec().into()]).await;
        let gone = "UPDATE contacts SET deleted_at = 1 WHERE id = (SELECT contact_id FROM enrollments WHERE id = $1)";
        w.sql(gone, [claimed[1].enrollment_id.into()]).await;
        for (one, address) in [(&claimed[0], SUPPRESSED), (&claimed[1], [0; 32])] {
            let mark = with_ledger(&w, async |ledger| ledger.mark(None, one.ticket(), address).await.unwrap());
            assert!(matches!(mark.await, Marking::Stopped(Verdict::Skipped)));
        }
        let of_the_first = format!("%{}%", claimed[0].enrollment_id);
        let told = "SELECT count(*) FROM webhook_deliveries WHERE payload LIKE $1";
        assert_eq!((w.number(told, [of_the_first.into()]).await, written(&w).await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_unsubscribe_is_told_once_for_each_active_enrollment() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (hook_id, _) = hook(&w.alice, &receiver, "/hook", &["enrollment.unsubscribed"]).await;
        hook(&w.bob, &receiver, "/bob", &["*"]).await;
        let lanes = [credential(&sink, "one@sender.test")];
        let people = ["ada@example.test".to_owned(), "bea@example.test".to_owned()];
        let import = import(&w.alice, &people).await;
        for _ in 0..2 {
            let id =
                w.alice.made("/campaigns", &campaign(&lanes, 1)).await["id"].as_str().unwrap().to_owned();
            let body = json!({ "contact_import_id": import });
            w.alice.made(&format!("/campaigns/{id}/enroll"), &body).await;
        }
        enrolled(&w.bob, &campaign(&lanes, 1), &people).await;
        for _ in 0..2 {
            let tx = Arc::new(w.db().begin().await.unwrap());
            let account = w.alice.account_id.parse().unwrap();
            let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(account);
            let key = w.state().suppression_key;
            suppressions::unsubscribe(&scope, &key, "ada@example.test", Timestamp::now()).await.unwrap();
            drop(scope);
            tx.commit_shared().await.unwrap();
        }
        let told = payloads(&w, &w.alice, &hook_id).await;
        assert_eq!((told.len(), written(&w).await), (2, 2));
        for body in told {
            let data = &body["data"];
            assert_eq!((&data["status"], &data["position"]), (&json!("unsubscribed"), &Json::Null));
            assert_eq!(data["contact_email"], "ada@example.test");
            assert!(data["unsubscribed_at"].is_string());
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_open_is_told_and_a_pause_by_its_owner() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (hook_id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let lanes = [credential(&sink, "one@sender.test")];
        let people = ["ada@example.test".to_owned()];
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let rows = w.alice.seen(&format!("/campaigns/{id}/enrollments")).await;
        let enrollment = rows[0]["id"].as_str().unwrap().parse().unwrap();
        let account = w.alice.account_id.parse().unwrap();
        for _ in 0..2 {
            opens::note_first(&w.db(), account, enrollment, "", Timestamp::now()).await;
        }
        w.alice.made(&format!("/campaigns/{id}/pause"), &json!({})).await;
        let told = payloads(&w, &w.alice, &hook_id).await;
        let types: Vec<_> = told.iter().map(|body| body["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["enrollment.opened", "campaign.paused"]);
        assert_eq!(told[0]["data"]["status"], "opened");
        let paused = &told[1]["data"];
        assert_eq!((&paused["campaign_id"], &paused["name"]), (&json!(id), &json!("Spring")));
        assert_eq!(paused["reason"], "user");
        assert!(paused["paused_at"].as_str().unwrap().ends_with('Z'));
    })
    .await;
}

#[tokio::test]
async fn a_disabled_credential_is_told_and_the_campaign_that_it_leaves_without_one() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (hook_id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        let lanes = ["one@sender.test", "two@sender.test"].map(|from| credential(&sink, from));
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &["ada@example.test".to_owned()]).await;
        let lanes = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
        for (lane, reason) in [(&lanes[0], DisabledReason::Policy), (&lanes[1], DisabledReason::BounceRate)] {
            let lane = lane["id"].as_str().unwrap().parse().unwrap();
            for _ in 0..2 {
                let tx = Arc::new(w.db().begin().await.unwrap());
                let account = w.alice.account_id.parse().unwrap();
                let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(account);
                smtp_credentials::disable(&scope, lane, reason, Timestamp::now()).await.unwrap();
                drop(scope);
                tx.commit_shared().await.unwrap();
            }
        }
        let told = payloads(&w, &w.alice, &hook_id).await;
        let types: Vec<_> = told.iter().map(|body| body["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["credential.disabled", "credential.disabled", "campaign.paused"]);
        let expected = json!({
            "smtp_credential_id": lanes[0]["id"], "campaign_id": id, "from_email": lanes[0]["from_email"],
            "reason": "policy", "bounce_rate": 0.0, "bounce_rate_threshold": 8.0,
            "disabled_at": told[0]["data"]["disabled_at"],
        });
        assert_eq!(told[0]["data"], expected);
        assert!(told[0]["data"]["disabled_at"].is_string());
        assert_eq!(told[1]["data"]["reason"], "bounce_rate");
        assert_eq!(told[2]["data"]["reason"], "no_enabled_credential");
        assert_eq!(written(&w).await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_to_which_nobody_listens_writes_nothing() {
    world(|w| async move {
        let (sink, receiver) = (Sink::start().await.unwrap(), Receiver::start().await.unwrap());
        let (disabled, _) = hook(&w.alice, &receiver, "/disabled", &["*"]).await;
        w.sql("UPDATE webhooks SET disabled_at = 1", []).await;
        let (deleted, _) = hook(&w.alice, &receiver, "/deleted", &["*"]).await;
        w.alice.delete(&format!("/webhooks/{deleted}")).await.assert_status_ok();
        let (other, _) = hook(&w.alice, &receiver, "/other", &["credential.disabled"]).await;
        let engine = Engine::start(&w.ctx);
        let lanes = [credential(&sink, "one@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &addresses("ok", 5)).await;
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!(written(&w).await, 0, "for {disabled}, {deleted} or {other}");
    })
    .await;
}
