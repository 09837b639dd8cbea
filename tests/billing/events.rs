//! `POST /webhooks/stripe`: who may say something, that it is stored once, and what each state of a subscription means.

use ampout::billing::inbound;
use rstest::rstest;
use serde_json::{Value, json};
use stripe_webhook::Webhook;
use testkit::stripe::{event, subscription};

use super::{began, notify, now, paid, standing, tell};
use crate::support::{
    World,
    billing::{WEBHOOK_SECRETS, customer, paying, send_event},
};

async fn outcome(w: &World, id: &str, outcome: &str) {
    let sql =
        "SELECT count(*) FROM stripe_events WHERE id = $1 AND outcome = $2 AND processed_at IS NOT NULL";
    assert_eq!(w.number(sql, [id.into(), outcome.into()]).await, 1, "{id} is not {outcome}");
}

#[tokio::test]
async fn only_what_stripe_signed_lately_is_taken() {
    paying(|w, _stripe| async move {
        let body =
            event("evt_1", "customer.subscription.updated", &json!({"id": "sub_1", "customer": "cus_x"}))
                .to_string();
        let good = |at: i64| Webhook::generate_test_header(&body, WEBHOOK_SECRETS[0], Some(at));
        let headers = [
            None,
            Some(String::new()),
            Some("t=1,v1=00".to_owned()),
            Some(Webhook::generate_test_header(&body, "whsec_other", None)),
            Some(Webhook::generate_test_header("{}", WEBHOOK_SECRETS[0], None)),
            Some(good(now() - 301)),
            Some(good(now() + 305)),
        ];
        for header in headers {
            let mut request = w.server.post("/webhooks/stripe").bytes(body.clone().into_bytes().into());
            if let Some(header) = &header {
                request = request.add_header("stripe-signature", header.clone());
            }
            let answer = request.await;
            assert_eq!(answer.status_code(), 401, "{header:?}");
            assert_eq!(answer.json::<Value>()["code"], "invalid_signature", "{header:?}");
        }
        assert_eq!(w.number("SELECT count(*) FROM stripe_events", []).await, 0);
        // Either secret, and a signature that is not fresh but fresh enough.
        let request = w.server.post("/webhooks/stripe").bytes(body.clone().into_bytes().into());
        request.add_header("stripe-signature", good(now() - 290)).await.assert_status_ok();
        let again = Webhook::generate_test_header(&body, WEBHOOK_SECRETS[1], None);
        let request = w.server.post("/webhooks/stripe").bytes(body.clone().into_bytes().into());
        request.add_header("stripe-signature", again).await.assert_status_ok();
        let stored = "SELECT count(*) FROM stripe_events WHERE payload = $1";
        assert_eq!(w.number(stored, [body.into()]).await, 1, "stored once, as it came");
    })
    .await;
}

#[tokio::test]
async fn what_is_signed_and_no_event_is_a_bad_request() {
    paying(|w, _stripe| async move {
        for body in ["", "[]", "{\"id\": \"evt_1\"}", "\u{feff}{}"] {
            let signature = Webhook::generate_test_header(body, WEBHOOK_SECRETS[0], None);
            let request = w.server.post("/webhooks/stripe").bytes(body.as_bytes().to_vec().into());
            let answer = request.add_header("stripe-signature", signature).await;
            assert_eq!(answer.status_code(), 400, "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_is_stored_once_and_worked_on_by_one_job() {
    paying(|w, stripe| async move {
        let shown = paid(&w.alice, "sub_1", "price_hobby", "active");
        stripe.show(&shown);
        for _ in 0..3 {
            send_event(&w, &event("evt_1", "customer.subscription.created", &shown)).await.assert_status_ok();
        }
        // Its account's from the beginning: whoever is erased before the work is done is erased here too.
        let whose = "SELECT count(*) FROM stripe_events WHERE account_id = $1";
        let alice: uuid::Uuid = w.alice.account_id.parse().unwrap();
        assert_eq!(w.number(whose, [alice.into()]).await, 1);
        assert_eq!(w.number("SELECT count(*) FROM stripe_events", []).await, 1);
        assert_eq!(w.number("SELECT count(*) FROM jobs WHERE name = 'ApplyStripeEvent'", []).await, 1);
        assert_eq!(stripe.calls().len(), 0, "the answer does not wait for Stripe");
        for _ in 0..3 {
            inbound::apply(&w.state(), "evt_1").await.unwrap();
        }
        assert_eq!(stripe.calls_to("/v1/subscriptions/sub_1").len(), 1);
        assert_eq!(standing(&w.alice).await, ("hobby".into(), json!("sub_1")));
        assert_eq!(standing(&w.bob).await, ("free".into(), json!(null)));
    })
    .await;
}

#[tokio::test]
async fn what_is_not_ours_is_kept_and_changes_nothing() {
    paying(|w, stripe| async move {
        let shown = paid(&w.alice, "sub_1", "price_hobby", "active");
        stripe.show(&shown);
        send_event(&w, &event("evt_other", "charge.refunded", &json!({"id": "ch_1"})))
            .await
            .assert_status_ok();
        outcome(&w, "evt_other", "ignored").await;
        let mut live = event("evt_live", "customer.subscription.created", &shown);
        live["livemode"] = json!(true);
        send_event(&w, &live).await.assert_status_ok();
        inbound::apply(&w.state(), "evt_live").await.unwrap();
        outcome(&w, "evt_live", "wrong_mode").await;
        let mut strange = shown.clone();
        strange["customer"] = json!("cus_nobody");
        notify(&w, "evt_nobody", &strange).await;
        outcome(&w, "evt_nobody", "unknown_customer").await;
        let kept = "SELECT count(*) FROM stripe_events WHERE payload <> ''";
        assert_eq!(w.number(kept, []).await, 0, "what is of no account is not kept in full");
        assert_eq!(stripe.calls().len(), 0);
        // Stripe itself shows whose it is: an event cannot give it to another.
        let mut foreign = shown.clone();
        foreign["customer"] = json!(customer(&w.bob));
        notify(&w, "evt_foreign", &foreign).await;
        outcome(&w, "evt_foreign", "not_ours").await;
        let mut money = shown.clone();
        money["livemode"] = json!(true);
        money["id"] = json!("sub_live");
        tell(&w, &stripe, &money).await;
        for client in [&w.alice, &w.bob] {
            assert_eq!(standing(client).await, ("free".into(), json!(null)));
        }
    })
    .await;
}

#[rstest]
#[case::active("active", "pro")]
#[case::tried_out("trialing", "pro")]
#[case::asked_for_again("past_due", "pro")]
#[case::not_paid_yet("incomplete", "free")]
#[case::never_paid("incomplete_expired", "free")]
#[case::given_up("unpaid", "free")]
#[case::ended("canceled", "free")]
#[case::paused("paused", "free")]
#[tokio::test]
async fn each_state_of_a_subscription_means_a_plan(#[case] status: &str, #[case] plan: &str) {
    let status = status.to_owned();
    let plan = plan.to_owned();
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", "active")).await;
        assert_eq!(standing(&w.alice).await.0, "pro");
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", &status)).await;
        let subscription = if plan == "pro" { json!("sub_1") } else { json!(null) };
        assert_eq!(standing(&w.alice).await, (plan, subscription));
        assert_eq!(standing(&w.bob).await.0, "free");
    })
    .await;
}

#[tokio::test]
async fn an_unknown_price_leaves_the_plan_and_a_known_one_is_followed() {
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.bob, "sub_2", "price_hats", "active")).await;
        assert_eq!(standing(&w.bob).await, ("free".into(), json!(null)));
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hats", "active")).await;
        assert_eq!(standing(&w.alice).await, ("hobby".into(), json!("sub_1")));
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_scale", "active")).await;
        assert_eq!(standing(&w.alice).await, ("scale".into(), json!("sub_1")));
    })
    .await;
}

#[tokio::test]
async fn what_is_cancelled_for_the_end_keeps_its_plan_until_then() {
    paying(|w, stripe| async move {
        let mut shown = paid(&w.alice, "sub_1", "price_hobby", "active");
        shown["cancel_at_period_end"] = json!(true);
        shown["canceled_at"] = json!(now());
        tell(&w, &stripe, &shown).await;
        assert_eq!(standing(&w.alice).await.0, "hobby");
        shown["status"] = json!("canceled");
        shown["ended_at"] = json!(now());
        stripe.show(&shown);
        send_event(&w, &event("evt_end", "customer.subscription.deleted", &shown)).await.assert_status_ok();
        inbound::apply(&w.state(), "evt_end").await.unwrap();
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
    })
    .await;
}

#[tokio::test]
async fn a_finished_checkout_and_a_failed_invoice_have_the_subscription_looked_at() {
    paying(|w, stripe| async move {
        stripe.show(&paid(&w.alice, "sub_1", "price_hobby", "active"));
        let session = json!({"id": "cs_1", "customer": customer(&w.alice), "subscription": "sub_1"});
        send_event(&w, &event("evt_1", "checkout.session.completed", &session)).await.assert_status_ok();
        inbound::apply(&w.state(), "evt_1").await.unwrap();
        assert_eq!(standing(&w.alice).await, ("hobby".into(), json!("sub_1")));
        stripe.show(&paid(&w.alice, "sub_1", "price_hobby", "unpaid"));
        let parent = json!({"subscription_details": {"subscription": "sub_1"}});
        let invoice = json!({"id": "in_1", "customer": customer(&w.alice), "parent": parent});
        send_event(&w, &event("evt_2", "invoice.payment_failed", &invoice)).await.assert_status_ok();
        inbound::apply(&w.state(), "evt_2").await.unwrap();
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
    })
    .await;
}

#[tokio::test]
async fn of_several_subscriptions_the_newest_that_gives_a_plan_is_followed() {
    paying(|w, stripe| async move {
        let own = customer(&w.alice);
        let old = subscription("sub_old", &own, "price_scale", "active", began(9));
        let new = subscription("sub_new", &own, "price_hobby", "active", began(2));
        tell(&w, &stripe, &new).await;
        tell(&w, &stripe, &old).await;
        assert_eq!(standing(&w.alice).await, ("hobby".into(), json!("sub_new")));
        let mut ended = new.clone();
        ended["status"] = json!("canceled");
        tell(&w, &stripe, &ended).await;
        assert_eq!(standing(&w.alice).await, ("scale".into(), json!("sub_old")));
    })
    .await;
}

/// Stripe's prices do not change: another amount is another price, and who subscribed before goes on with the old one.
#[tokio::test]
async fn a_price_that_is_replaced_leaves_its_subscribers_on_their_plan() {
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", "active")).await;
        w.sql("UPDATE plans SET stripe_price_id = 'price_dearer' WHERE slug = 'pro'", []).await;
        let own = customer(&w.alice);
        let next = began(1);
        let renewed = |price: &str, status: &str| subscription("sub_1", &own, price, status, next);
        tell(&w, &stripe, &renewed("price_pro", "active")).await;
        assert_eq!(standing(&w.alice).await, ("pro".into(), json!("sub_1")));
        let period = w.alice.seen("/billing/subscription").await["current_period"].clone();
        assert_eq!(period["end"], ampout::clock::Timestamp::from_seconds(next.1).to_string().as_str());
        tell(&w, &stripe, &paid(&w.bob, "sub_2", "price_dearer", "active")).await;
        assert_eq!(standing(&w.bob).await, ("pro".into(), json!("sub_2")));
        tell(&w, &stripe, &renewed("price_pro", "canceled")).await;
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
    })
    .await;
}
