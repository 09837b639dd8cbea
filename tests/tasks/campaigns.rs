//! Campaigns and uncertain deliveries, whoever's they are.

use serde_json::{Value as Json, json};
use testkit::sink::Sink;

use super::{answer, killed_at, run};
use crate::{
    requests::deliveries::uncertain,
    support::{
        World,
        campaign::{Engine, addresses, campaign, credential, dispatched, until_status},
        world,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_is_shown_as_its_owner_sees_it_and_paused() {
    world(|w| async move {
        let made = uncertain(&w).await;
        let campaign = format!("campaign:{}", made.campaign);
        let shown = answer(&w, &["campaign_show", &campaign]).await;
        let mut seen = w.alice.seen(&format!("/campaigns/{}", made.campaign)).await;
        seen["account_id"] = json!(w.alice.account_id);
        assert_eq!(shown, seen);
        let text = run(&w, &["campaign_show", &campaign]).await.out;
        for part in ["totals.pending", "credentials:", "per_batch:", "uncertain"] {
            assert!(text.contains(part), "{text}");
        }
        let paused = answer(&w, &["campaign_pause", &campaign]).await;
        assert_eq!(paused, json!({"id": made.campaign, "status": "paused"}));
        let again = run(&w, &["campaign_pause", &campaign]).await;
        assert!(again.refusal().starts_with("error: campaign_not_active"), "{}", again.err);
        let active = "SELECT count(*) FROM campaigns WHERE status = 'active'";
        assert_eq!(w.number(active, []).await, 1, "the other account's goes on");
        let nobodys = run(&w, &["campaign_show", &format!("campaign:{}", uuid::Uuid::now_v7())]).await;
        assert!(nobodys.refusal().starts_with("error: campaign_not_found"), "{}", nobodys.err);
    })
    .await;
}

/// The campaigns of a list, in its order.
fn ids(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// A campaign in each of these states for both accounts; answers those of each, in the order of `STATES`.
const STATES: [&str; 4] = ["pending", "active", "paused", "completed"];

async fn of_each_state(w: &World) -> [Vec<String>; 2] {
    let mut made = [Vec::new(), Vec::new()];
    for (owner, mine) in [&w.alice, &w.bob].into_iter().zip(&mut made) {
        for state in STATES {
            let id = owner.campaign(&json!({ "name": state })).await;
            w.sql("UPDATE campaigns SET status = $1 WHERE id = $2", [state.into(), id.into()]).await;
            mine.push(id.to_string());
        }
        let deleted = owner.campaign(&json!({})).await;
        owner.delete(&format!("/campaigns/{deleted}")).await.assert_status_ok();
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_of_all_accounts_are_listed_and_narrowed() {
    world(|w| async move {
        let [mine, theirs] = of_each_state(&w).await;
        let all = answer(&w, &["campaign_list"]).await;
        assert_eq!(ids(&all), [&mine[..], &theirs[..]].concat());
        let first = &all[0];
        assert_eq!((&first["name"], &first["status"]), (&json!("pending"), &json!("pending")));
        assert_eq!(first["account_id"], json!(w.alice.account_id));
        assert_eq!(first["account_email"], "alice@example.com");
        for (at, state) in STATES.into_iter().enumerate() {
            let some = answer(&w, &["campaign_list", &format!("status:{state}")]).await;
            assert_eq!(ids(&some), [&mine[at], &theirs[at]], "{state}");
        }
        let behind = format!("after:{}", theirs[0]);
        let some = answer(&w, &["campaign_list", "account:bob@example.com", &behind, "limit:2"]).await;
        assert_eq!(ids(&some), &theirs[1..3]);
        let wrong = run(&w, &["campaign_list", "status:held"]).await;
        assert!(
            wrong.refusal().contains("`status:held` is wrong, expected `pending`, `active`"),
            "{}",
            wrong.err
        );
        // Whoever is being erased sends nothing any more.
        w.sql("UPDATE accounts SET deleted_at = 1 WHERE email = 'bob@example.com'", []).await;
        assert_eq!(ids(&answer(&w, &["campaign_list"]).await), mine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_are_active_are_paused_and_named_and_go_on_one_by_one() {
    world(|w| async move {
        let [mine, theirs] = of_each_state(&w).await;
        for words in
            [&["campaign_pause"][..], &["campaign_pause", "all:yes", &format!("campaign:{}", mine[1])]]
        {
            let refused = run(&w, words).await;
            assert!(
                refused.refusal().contains("either the argument `campaign` or `all:yes`"),
                "{}",
                refused.err
            );
        }
        let enrolled = w.import(&w.alice, 1, "x.example").await;
        w.alice.enroll(mine[1].parse().unwrap(), enrolled, 50).await;
        w.alice.made(&format!("/campaigns/{}/dispatch", mine[1]), &json!({})).await;
        let paused = answer(&w, &["campaign_pause", "all:yes"]).await;
        assert_eq!(ids(&paused), [&mine[1], &theirs[1]], "and not those that their owners paused");
        assert!(paused.as_array().unwrap().iter().all(|row| row["status"] == "paused"), "{paused}");
        assert_eq!(answer(&w, &["campaign_list", "status:active"]).await, json!([]));
        assert_eq!(answer(&w, &["campaign_pause", "all:yes"]).await, json!([]));

        let resume = ["campaign_resume", &format!("campaign:{}", mine[1])];
        assert_eq!(answer(&w, &resume).await, json!({ "id": mine[1], "status": "active" }));
        let again = run(&w, &resume).await;
        assert!(again.refusal().starts_with("error: campaign_not_paused"), "{}", again.err);
        let nothing_left = ["campaign_resume", &format!("campaign:{}", theirs[1])];
        assert_eq!(answer(&w, &nothing_left).await, json!({ "id": theirs[1], "status": "completed" }));
        let nobodys = run(&w, &["campaign_resume", &format!("campaign:{}", uuid::Uuid::now_v7())]).await;
        assert!(nobodys.refusal().starts_with("error: campaign_not_found"), "{}", nobodys.err);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paused_is_named_when_the_next_cannot_be() {
    world(|w| async move {
        let [mine, theirs] = of_each_state(&w).await;
        // Only the other account has an endpoint, and what it is told has nowhere to go.
        let hook = json!({ "webhook": { "url": "http://127.0.0.1:1/", "event_filters": ["*"] } });
        w.bob.made("/webhooks", &hook).await;
        w.sql("ALTER TABLE webhook_deliveries RENAME TO webhook_deliveries_away", []).await;
        let ran = run(&w, &["campaign_pause", "all:yes", "format:json"]).await;
        assert!(ran.refusal().starts_with("error: internal_error"), "{}", ran.err);
        assert_eq!(ids(&serde_json::from_str(&ran.out).unwrap()), [&mine[1]]);
        assert_eq!(ids(&answer(&w, &["campaign_list", "status:active"]).await), [&theirs[1]]);
    })
    .await;
}

/// The restore procedure of `docs/OPERATIONS.md`, word for word; that what is restored knows nothing of what was sent since
/// is the same with every backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_sends_nothing_before_what_was_active_is_resumed() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut sending = Vec::new();
        for (owner, name) in [(&w.alice, "alice"), (&w.bob, "bob")] {
            let body = campaign(&[credential(&sink, &format!("{name}@sender.example"))], 1);
            sending.push(dispatched(owner, &body, &addresses(name, 3)).await);
            let held = dispatched(owner, &body, &addresses("held", 2)).await;
            owner.made(&format!("/campaigns/{held}/pause"), &json!({})).await;
        }
        assert!(run(&w, &["doctor"]).await.out.contains("the schema is up to date"));
        let active = answer(&w, &["campaign_list", "status:active", "limit:10000"]).await;
        assert_eq!(ids(&active), sending);
        // The operator's machine may go down too: the list is there, and pausing begins anew.
        killed_at(&w, &["campaign_pause", "all:yes"], "task_after_batch", 0).await;
        assert!(run(&w, &["campaign_pause", "all:yes"]).await.well);
        assert_eq!(answer(&w, &["campaign_list", "status:active"]).await, json!([]));
        let engine = Engine::start(&w.ctx);
        for (owner, id, name) in [(&w.alice, &sending[0], "alice"), (&w.bob, &sending[1], "bob")] {
            assert!(sink.messages().iter().all(|it| !it.is_to(&addresses(name, 1)[0])), "not resumed yet");
            answer(&w, &["campaign_resume", &format!("campaign:{id}")]).await;
            until_status(owner, id, "completed").await;
        }
        engine.stop().await;
        assert_eq!(sink.messages().len(), 6);
        assert_eq!(answer(&w, &["campaign_list", "status:paused"]).await.as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uncertain_deliveries_of_all_accounts_are_listed_and_narrowed() {
    world(|w| async move {
        let made = uncertain(&w).await;
        let all = answer(&w, &["uncertain_list"]).await;
        assert_eq!(all.as_array().unwrap().len(), 2);
        let first = all[0]["id"].as_str().unwrap();
        let behind = answer(&w, &["uncertain_list", &format!("after:{first}")]).await;
        assert_eq!(behind.as_array().unwrap(), &all.as_array().unwrap()[1..]);
        let limited = answer(&w, &["uncertain_list", "limit:1"]).await;
        assert_eq!(limited.as_array().unwrap(), &all.as_array().unwrap()[..1]);
        for narrowed in ["account:alice@example.com", &format!("campaign:{}", made.campaign)] {
            let rows = answer(&w, &["uncertain_list", narrowed]).await;
            assert_eq!(rows.as_array().unwrap().len(), 1, "{narrowed}");
            assert_eq!(rows[0]["account_id"], json!(w.alice.account_id));
            assert_eq!(rows[0]["message_id"], "m@x.example");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncertain_delivery_is_settled_alone_or_with_its_campaign() {
    world(|w| async move {
        let made = uncertain(&w).await;
        let listed = answer(&w, &["uncertain_list", "account:bob@example.com"]).await;
        let bobs = format!("delivery:{}", listed[0]["id"].as_str().unwrap());
        let neither = run(&w, &["uncertain_resolve", "as:sent"]).await;
        assert!(neither.refusal().contains("either the argument `delivery` or the argument `campaign`"));
        let wrong = run(&w, &["uncertain_resolve", "as:lost", &bobs]).await;
        assert!(wrong.refusal().contains("`as:lost` is wrong, expected `sent` or `resend`"));

        let done = answer(&w, &["uncertain_resolve", "as:sent", &bobs]).await;
        assert_eq!(done, json!({"resolved": 1, "left": 0}));
        let again = run(&w, &["uncertain_resolve", "as:sent", &bobs]).await;
        assert_eq!(again.refusal(), "error: unprocessable: The delivery is not uncertain");
        let of_campaign = format!("campaign:{}", made.campaign);
        let done = answer(&w, &["uncertain_resolve", "as:resend", &of_campaign]).await;
        assert_eq!(done, json!({"resolved": 1, "left": 0}));
        assert_eq!(answer(&w, &["uncertain_list"]).await, json!([]));
        let states = ["sent", "queued"]
            .map(|state| format!("SELECT count(*) FROM deliveries WHERE state = '{state}'"));
        for sql in states {
            assert_eq!(w.number(&sql, []).await, 1, "{sql}");
        }
    })
    .await;
}
