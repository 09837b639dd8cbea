//! Campaigns and uncertain deliveries, whoever's they are.

use serde_json::json;

use super::{answer, run};
use crate::{requests::deliveries::uncertain, support::world};

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
