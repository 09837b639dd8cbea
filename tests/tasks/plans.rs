//! Plans, and what Stripe says of who pays for them, by tasks.

use serde_json::json;
use testkit::{stripe::event, wait::eventually};

use super::{DEADLINE, answer, end_of, prepared, run};
use crate::support::{
    billing::{customer, paying, send_event},
    campaign::Engine,
    world,
};

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
async fn a_plan_has_a_largest_limit() {
    world(|w| async move {
        for limit in ["1000000000001", "9223372036854775807", "-1", "1e3"] {
            let words = ["plan_create", "slug:huge", "name:Huge", &format!("limit:{limit}")];
            let refused = run(&w, &words).await;
            assert!(refused.refusal().contains(&format!("`limit:{limit}` is wrong")), "{}", refused.err);
        }
        let made = answer(&w, &["plan_create", "slug:huge", "name:Huge", "limit:1000000000000"]).await;
        assert_eq!(made["monthly_limit"], json!(1_000_000_000_000_i64));
        answer(&w, &["plan_assign", "account:alice@example.com", "plan:huge"]).await;
        assert_eq!(w.alice.seen("/billing/usage").await["monthly_limit"], json!(1_000_000_000_000_i64));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_plan_is_neither_listed_nor_sold_nor_assigned_until_it_is_restored() {
    paying(|w, stripe| async move {
        assert_eq!(
            answer(&w, &["plan_assign", "account:bob@example.com", "plan:pro"]).await["changed"],
            true
        );
        let archive = ["plan_archive", "plan:pro"];
        assert_eq!(answer(&w, &archive).await, json!({"slug": "pro", "archived": true, "changed": true}));
        assert_eq!(answer(&w, &archive).await["changed"], false);
        let listed = async || {
            let plans: serde_json::Value = w.server.get("/plans").await.json();
            plans.as_array().unwrap().iter().any(|plan| plan["slug"] == "pro")
        };
        let checkout = async || w.alice.post("/billing/checkout", &json!({"plan_slug": "pro"})).await;
        assert!(!listed().await);
        assert_eq!(checkout().await.json::<serde_json::Value>()["code"], "plan_not_purchasable");
        let assign = ["plan_assign", "account:alice@example.com", "plan:pro"];
        assert!(run(&w, &assign).await.refusal().contains("The plan is archived"));
        assert_eq!(w.bob.seen("/account").await["plan_slug"], "pro", "who has it keeps it");

        let restored = answer(&w, &["plan_restore", "plan:pro"]).await;
        assert_eq!(restored, json!({"slug": "pro", "archived": false, "changed": true}));
        assert!(listed().await);
        checkout().await.assert_status_ok();
        let free = run(&w, &["plan_archive", "plan:free"]).await;
        assert!(free.refusal().contains("begins on the free plan"), "{}", free.err);
        assert!(run(&w, &["plan_archive", "plan:gold"]).await.refusal().starts_with("error: plan_not_found"));
        assert!(run(&w, &["plan_archive"]).await.refusal().contains("`plan` is missing"));
        drop(stripe);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_in_a_shell_without_prices_takes_none_away() {
    paying(|w, stripe| async move {
        let prices =
            "SELECT count(*) FROM plans WHERE stripe_price_id IN ('price_hobby', 'price_pro', 'price_scale')";
        for (secret, words) in [
            ("", &["plan_list"][..]),
            ("sk_test_standin", &["plan_list"]),
            ("", &["plan_sync"]),
            ("sk_test_standin", &["plan_sync"]),
        ] {
            let task = prepared(&w, words).env("STRIPE_SECRET_KEY", secret);
            let task = ["STRIPE_PRICE_HOBBY", "STRIPE_PRICE_PRO", "STRIPE_PRICE_SCALE"]
                .into_iter()
                .fold(task, |task, name| task.env(name, ""));
            assert!(end_of(&task).await.well);
            assert_eq!(w.number(prices, []).await, 3, "{words:?} {secret}");
        }
        drop(stripe);
    })
    .await;
}

/// While Stripe is away for all of a job's tries, the night heals the plan; the mail waits for `jobs_retry`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mail_on_a_failed_payment_is_made_up_for_by_jobs_retry() {
    paying(|w, stripe| async move {
        let invoice = json!({"id": "in_1", "customer": customer(&w.alice), "subscription": null});
        send_event(&w, &event("evt_1", "invoice.payment_failed", &invoice)).await.assert_status_ok();
        let tries = "SELECT max_attempts FROM jobs WHERE name = 'ApplyStripeEvent'";
        assert_eq!(w.number(tries, []).await, 14);
        let fail = "UPDATE jobs SET status = 'failed', attempts = 14, last_error = 'away'";
        w.sql(fail, []).await;
        let failed = answer(&w, &["jobs_list", "status:failed", "name:ApplyStripeEvent"]).await;
        assert_eq!(failed[0]["args"]["event_id"], "evt_1");
        assert_eq!(answer(&w, &["jobs_retry", "all:yes"]).await, json!({"retried": 1}));
        let engine = Engine::start(&w.ctx);
        let mails = "SELECT count(*) FROM jobs WHERE name = 'SendSystemMail' AND args LIKE '%in_1%'";
        eventually(DEADLINE, || async { (w.number(mails, []).await == 1).then_some(()) }).await.unwrap();
        engine.stop().await;
        drop(stripe);
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
