//! Plans, and what Stripe says of who pays for them, by tasks.

use serde_json::json;

use super::{answer, end_of, prepared, run};
use crate::support::{billing::paying, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_plan_is_made_listed_and_given_to_one_account() {
    world(|w| async move {
        let words = ["plan_create", "slug:big_customer", "name:Big customer", "limit:1000000", "tier:4"];
        let made = answer(&w, &words).await;
        assert_eq!((&made["public"], &made["monthly_limit"]), (&json!(false), &json!(1_000_000)));
        assert!(run(&w, &words).await.refusal().contains("A plan has this slug already"));
        let slugs: Vec<_> = answer(&w, &["plan_list"]).await.as_array().unwrap().clone();
        let slugs: Vec<_> = slugs.iter().map(|plan| plan["slug"].as_str().unwrap().to_owned()).collect();
        assert_eq!(slugs, ["free", "hobby", "pro", "scale", "big_customer"]);

        let assign = ["plan_assign", "account:alice@example.com", "plan:big_customer"];
        let done = answer(&w, &assign).await;
        assert_eq!(done["changed"], true);
        assert_eq!(answer(&w, &assign).await["changed"], false);
        for (owner, limit) in [(&w.alice, 1_000_000), (&w.bob, 100)] {
            assert_eq!(owner.seen("/billing/usage").await["monthly_limit"], limit);
        }
        let unknown = run(&w, &["plan_assign", "account:alice@example.com", "plan:gold"]).await;
        assert!(unknown.refusal().starts_with("error: plan_not_found"), "{}", unknown.err);
        let wrong = run(&w, &["plan_create", "slug:Not one", "name:x", "limit:1"]).await;
        assert!(wrong.refusal().contains("`slug:Not one` is wrong"), "{}", wrong.err);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_follow_the_configuration() {
    paying(|w, stripe| async move {
        let sync = prepared(&w, &["plan_sync", "format:json"]);
        assert!(end_of(&sync).await.json().as_array().unwrap().iter().all(|plan| plan["changed"] == false));
        let dearer = end_of(&sync.env("STRIPE_PRICE_PRO", "price_dearer")).await.json();
        let pro = dearer.as_array().unwrap().iter().find(|plan| plan["slug"] == "pro").unwrap();
        assert_eq!(*pro, json!({"slug": "pro", "stripe_price_id": "price_dearer", "changed": true}));
        drop(stripe);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_knows_is_compared_and_without_stripe_that_is_refused() {
    paying(|w, stripe| async move {
        let done = end_of(&prepared(&w, &["stripe_reconcile", "format:json"])).await.json();
        assert_eq!(done, json!({"subscriptions": 0, "changed": 0, "customers": 0, "failed": 0}));
        let without = end_of(&prepared(&w, &["stripe_reconcile"]).env("STRIPE_SECRET_KEY", "")).await;
        assert!(without.refusal().starts_with("error: no_stripe_customer"), "{}", without.err);
        let doctor = end_of(&prepared(&w, &["doctor", "format:json"])).await;
        let checks: serde_json::Value = serde_json::from_str(&doctor.out).unwrap();
        let found = checks.as_array().unwrap().iter().find(|it| it["check"] == "stripe").unwrap();
        assert_eq!(found["finding"], "ok", "{found}");
        drop(stripe);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_made_here_becomes_a_customer_and_one_that_pays_is_not_erased() {
    paying(|w, stripe| async move {
        let made = prepared(&w, &["account_create", "email:carol@example.com", "format:json"]);
        assert_eq!(end_of(&made).await.json()["plan_slug"], "free");
        let jobs = "SELECT count(*) FROM jobs WHERE name = 'MakeStripeCustomer'";
        assert_eq!(w.number(jobs, []).await, 1);

        let alice: uuid::Uuid = w.alice.account_id.parse().unwrap();
        let sql = "UPDATE accounts SET stripe_subscription_id = 'sub_1' WHERE id = $1";
        w.sql(sql, [alice.into()]).await;
        let refused =
            run(&w, &["account_erase", "account:alice@example.com", "confirm:alice@example.com"]).await;
        assert!(refused.refusal().contains("sub_1"), "{}", refused.err);
        w.alice.get("/account").await.assert_status_ok();

        // One that gives no plan, because nobody knows its price, is charged for as well.
        let bob: uuid::Uuid = w.bob.account_id.parse().unwrap();
        let sql = "INSERT INTO subscriptions (id, account_id, stripe_id, status, subscribed_at, fetches_begun, \
                   fetch_stored, created_at) VALUES ($1, $1, 'sub_2', 'active', 1, 1, 1, 1)";
        w.sql(sql, [bob.into()]).await;
        let erase = ["account_erase", "account:bob@example.com", "confirm:bob@example.com"];
        assert!(run(&w, &erase).await.refusal().contains("sub_2"));
        w.sql("UPDATE subscriptions SET status = 'canceled', ended_at = 2", []).await;
        answer(&w, &erase).await;
        drop(stripe);
    })
    .await;
}
