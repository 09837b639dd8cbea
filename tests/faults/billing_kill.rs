//! kill -9 while an engine works on an event of Stripe or makes a customer, then a restart: one effect.

use rstest::rstest;
use serde_json::json;
use testkit::{
    stripe::{StripeServer, event, subscription},
    wait::eventually,
};

use super::{engine_process, heir_process, killed_at};
use crate::support::{
    World,
    billing::{DEADLINE, customer, no_night, paying, send_event, variables},
    world_with,
};

/// Starts an engine that stops at `point`, and kills it there.
async fn engine_killed_at(w: &World, point: &str) {
    killed_at(engine_process(w), point, 0).await;
    // As if the leases of the killed had run out.
    w.sql("UPDATE jobs SET locked_until = 1", []).await;
    w.sql("UPDATE chores SET locked_until = 1", []).await;
}

#[rstest]
#[case::before_stripe_is_asked("stripe-before-fetch")]
#[case::with_the_answer_in_hand("stripe-fetched")]
#[case::after_it_is_stored("stripe-stored")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_works_on_an_event_it_has_one_effect(#[case] point: &'static str) {
    paying(|w, stripe| async move {
        // The night's work is done: only the event is left.
        no_night(&w).await;
        let now = ampout::clock::Timestamp::now().seconds();
        let shown = subscription(
            "sub_1",
            &customer(&w.alice),
            "price_hobby",
            "past_due",
            (now - 60, now + 2_592_000),
        );
        stripe.show(&shown);
        let invoice = json!({"id": "in_1", "customer": customer(&w.alice), "subscription": "sub_1"});
        send_event(&w, &event("evt_1", "invoice.payment_failed", &invoice)).await.assert_status_ok();
        engine_killed_at(&w, point).await;
        let _again = heir_process(&w).start().unwrap();
        eventually(DEADLINE, || async {
            w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
            let done = "SELECT count(*) FROM stripe_events WHERE outcome = 'applied'";
            (w.number(done, []).await == 1).then_some(())
        })
        .await
        .unwrap();
        let seen = w.alice.seen("/billing/subscription").await;
        assert_eq!(
            (&seen["plan"]["slug"], &seen["stripe_subscription_id"]),
            (&json!("hobby"), &json!("sub_1"))
        );
        let mails = "SELECT count(*) FROM jobs WHERE name = 'SendSystemMail'";
        assert_eq!(w.number(mails, []).await, 1, "the owner is told once");
        assert_eq!(w.number("SELECT count(*) FROM subscriptions", []).await, 1);
        assert_eq!(w.bob.seen("/billing/subscription").await["plan"]["slug"], "free");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_stripe_made_a_customer_it_has_one() {
    let stripe = StripeServer::start().await.unwrap();
    world_with(&variables(&stripe), |w| async move {
        engine_killed_at(&w, "stripe-customer-made").await;
        let _again = heir_process(&w).start().unwrap();
        for client in [&w.alice, &w.bob] {
            eventually(DEADLINE, || async {
                w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
                let seen = client.seen("/billing/subscription").await;
                (seen["stripe_customer_id"] == customer(client).as_str()).then_some(())
            })
            .await
            .unwrap();
        }
        assert_eq!(stripe.customers(), 2);
        assert!(stripe.calls_to("/v1/customers").len() >= 3);
    })
    .await;
}
