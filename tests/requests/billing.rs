//! Plans, what an account is on, and Stripe's pages: answers, refusals in their order, and what Stripe is asked.

use std::time::Duration;

use axum::http::StatusCode;
use axum_test::TestResponse;
use serde_json::{Value, json};
use testkit::stripe::{Mood, StripeServer, event, subscription};

use crate::support::{
    Client, World,
    billing::{customer, paying, send_event},
    world,
};

const CHECKOUTS: &str = "/v1/checkout/sessions";
const PORTALS: &str = "/v1/billing_portal/sessions";

async fn keyed(w: &World, client: &Client, path: &str, body: &Value, key: &str) -> TestResponse {
    let request = w.server.post(path).authorization_bearer(&client.key).json(body);
    request.add_header("idempotency-key", key).await
}

fn code(answer: &TestResponse) -> String {
    answer.json::<Value>()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn plans_are_shown_by_tier_with_the_prices_of_the_configuration() {
    paying(|w, _stripe| async move {
        let hidden = "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, archived_at, created_at) \
                      VALUES ($1, $2, 'Hidden', 1, 9, $3, $4, 0)";
        let id = || ampout::clock::new_id().into();
        w.sql(hidden, [id(), "private".into(), false.into(), sea_orm::Value::BigInt(None)]).await;
        w.sql(hidden, [id(), "archived".into(), true.into(), 1_i64.into()]).await;
        let plans: Value = w.server.get("/plans").await.json();
        let plan = |slug: &str, name: &str, tier: i32, limit: i64, price: Option<&str>| {
            json!({"slug": slug, "name": name, "tier": tier, "monthly_limit": limit, "stripe_price_id": price})
        };
        let expected = json!([
            plan("free", "Free", 0, 100, None),
            plan("hobby", "Hobby", 1, 5_000, Some("price_hobby")),
            plan("pro", "Pro", 2, 25_000, Some("price_pro")),
            plan("scale", "Scale", 3, 150_000, Some("price_scale")),
        ]);
        assert_eq!(plans, expected);
        assert_eq!(w.server.get("/plans?limit=1").await.status_code(), StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn without_stripe_billing_says_so_and_the_rest_is_there() {
    world(|w| async move {
        let seen = w.alice.seen("/billing/subscription").await;
        let plan = json!({"slug": "free", "name": "Free", "tier": 0, "monthly_limit": 100});
        assert_eq!(seen["plan"], plan);
        assert_eq!(seen["stripe_subscription_id"], json!(null));
        assert_eq!(seen["stripe_customer_id"], json!(null));
        let usage = w.alice.seen("/billing/usage").await;
        assert_eq!((&usage["monthly_limit"], &usage["history"]), (&json!(100), &json!([])));
        for (path, body) in
            [("/billing/checkout", json!({"plan_slug": "pro"})), ("/billing/portal", json!({}))]
        {
            let answer = w.alice.post(path, &body).await;
            assert_eq!(
                (answer.status_code().as_u16(), code(&answer)),
                (422, "no_stripe_customer".into()),
                "{path}"
            );
        }
        let answer = w.server.post("/webhooks/stripe").json(&json!({})).await;
        assert_eq!((answer.status_code().as_u16(), code(&answer)), (401, "invalid_signature".into()));
    })
    .await;
}

#[tokio::test]
async fn checkout_is_refused_in_its_order() {
    paying(|w, stripe| async move {
        let nobody = Client::sign_up(&w.server, "nobody@example.com").await;
        let private = "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, stripe_price_id, created_at) \
                       VALUES ($1, 'house', 'House', 9, 9, false, 'price_house', 0)";
        w.sql(private, [ampout::clock::new_id().into()]).await;
        w.sql("UPDATE plans SET archived_at = 1 WHERE slug = 'scale'", []).await;
        let cases = [
            (&nobody, "none", "plan_not_found"),
            (&nobody, "free", "plan_not_purchasable"),
            (&nobody, "house", "plan_not_purchasable"),
            (&nobody, "scale", "plan_not_purchasable"),
            (&nobody, "pro", "no_stripe_customer"),
        ];
        for (client, slug, expected) in cases {
            let answer = client.post("/billing/checkout", &json!({"plan_slug": slug})).await;
            assert_eq!(code(&answer), expected, "{slug}");
        }
        assert_eq!(code(&nobody.post("/billing/portal", &json!({})).await), "no_stripe_customer");
        // What Stripe has, and the operator does not sell.
        w.sql("UPDATE plans SET stripe_price_id = NULL WHERE slug = 'pro'", []).await;
        for client in [&w.alice, &nobody] {
            let answer = client.post("/billing/checkout", &json!({"plan_slug": "pro"})).await;
            assert_eq!(code(&answer), "plan_not_purchasable", "before it matters who asks");
        }
        for body in [json!({"plan_slug": 1}), json!({"plan": "pro"}), json!([])] {
            assert_eq!(code(&w.alice.post("/billing/checkout", &body).await), "bad_request", "{body}");
        }
        assert_eq!(code(&w.alice.post("/billing/checkout", &json!({})).await), "validation_failed");
        assert_eq!(stripe.calls(), []);
    })
    .await;
}

#[tokio::test]
async fn checkout_hands_stripe_what_it_needs_and_answers_its_page() {
    paying(|w, stripe| async move {
        let made = w.alice.made("/billing/checkout", &json!({"plan_slug": "pro"})).await;
        let calls = stripe.calls_to(CHECKOUTS);
        assert_eq!(made, json!({"url": format!("https://checkout.stripe.test/c/{}", calls[0].key)}));
        assert!(calls[0].key.starts_with("ampout-checkout-"), "{}", calls[0].key);
        let fields: Vec<(&str, &str)> =
            calls[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let own = customer(&w.alice);
        let expected = [
            ("cancel_url", "https://app.example.com/billing?status=cancelled"),
            ("client_reference_id", w.alice.account_id.as_str()),
            ("customer", own.as_str()),
            ("line_items[0][price]", "price_pro"),
            ("line_items[0][quantity]", "1"),
            ("mode", "subscription"),
            ("subscription_data[metadata][account_id]", w.alice.account_id.as_str()),
            ("success_url", "https://app.example.com/billing?status=success"),
        ];
        assert_eq!(fields, expected);
        let portal = w.bob.made("/billing/portal", &json!({})).await;
        let calls = stripe.calls_to(PORTALS);
        assert_eq!(portal, json!({"url": format!("https://billing.stripe.test/p/{}", calls[0].key)}));
        assert_eq!(calls[0].fields["customer"], customer(&w.bob));
        assert_eq!(calls[0].fields["return_url"], "https://app.example.com/billing");
    })
    .await;
}

#[tokio::test]
async fn a_key_makes_one_page_and_another_key_another() {
    paying(|w, stripe| async move {
        let body = json!({"plan_slug": "pro"});
        let first = keyed(&w, &w.alice, "/billing/checkout", &body, "one").await;
        let again = keyed(&w, &w.alice, "/billing/checkout", &body, "one").await;
        assert_eq!(first.as_bytes(), again.as_bytes());
        assert_eq!(again.header("idempotent-replayed"), "true");
        let theirs = keyed(&w, &w.bob, "/billing/checkout", &body, "one").await;
        let other = keyed(&w, &w.alice, "/billing/checkout", &body, "two").await;
        assert_ne!(first.as_bytes(), theirs.as_bytes());
        assert_ne!(first.as_bytes(), other.as_bytes());
        let keys: Vec<_> = stripe.calls_to(CHECKOUTS).into_iter().map(|call| call.key).collect();
        assert_eq!(keys.len(), 3);
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    })
    .await;
}

/// Whoever has a subscription changes it: a second one would be paid for beside it.
#[tokio::test]
async fn whoever_has_a_subscription_is_led_to_change_it() {
    paying(|w, stripe| async move {
        let now = ampout::clock::Timestamp::now().seconds();
        let period = (now - 60, now + 2_592_000);
        let shown = subscription("sub_1", &customer(&w.alice), "price_hobby", "active", period);
        stripe.show(&shown);
        send_event(&w, &event("evt_1", "customer.subscription.created", &shown)).await.assert_status_ok();
        ampout::billing::inbound::apply(&w.state(), "evt_1").await.unwrap();
        w.alice.made("/billing/checkout", &json!({"plan_slug": "pro"})).await;
        assert_eq!(stripe.calls_to(CHECKOUTS), []);
        let fields = stripe.calls_to(PORTALS)[0].fields.clone();
        assert_eq!(fields["flow_data[type]"], "subscription_update_confirm");
        let confirm = "flow_data[subscription_update_confirm]";
        assert_eq!(fields[&format!("{confirm}[subscription]")], "sub_1");
        assert_eq!(fields[&format!("{confirm}[items][0][id]")], "si_sub_1");
        assert_eq!(fields[&format!("{confirm}[items][0][price]")], "price_pro");
        w.bob.made("/billing/checkout", &json!({"plan_slug": "pro"})).await;
        assert_eq!(stripe.calls_to(CHECKOUTS).len(), 1);
    })
    .await;
}

async fn refused(w: &World, stripe: &StripeServer, moods: &[Mood], expected: &str) {
    stripe.always(moods.first().copied());
    for (path, body) in [("/billing/checkout", json!({"plan_slug": "pro"})), ("/billing/portal", json!({}))] {
        let answer = w.alice.post(path, &body).await;
        assert_eq!(code(&answer), expected, "{path} {moods:?}: {}", answer.text());
        assert!(!answer.text().contains("words of Stripe"), "{}", answer.text());
        let again = answer.maybe_header("retry-after").is_some();
        assert_eq!(again, expected == "service_unavailable", "{path} {moods:?}");
    }
    stripe.always(None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_errors_become_ours_and_none_of_its_words_are_shown() {
    paying(|w, stripe| async move {
        for status in [400, 402, 404] {
            refused(&w, &stripe, &[Mood::Fails(status)], "unprocessable").await;
        }
        for mood in [Mood::Fails(401), Mood::Fails(409), Mood::Fails(429), Mood::Fails(500), Mood::Babbles] {
            refused(&w, &stripe, &[mood], "service_unavailable").await;
        }
        w.sql("UPDATE accounts SET stripe_customer_id = 'cus_unknown' WHERE email = 'alice@example.com'", [])
            .await;
        let answer = w.alice.post("/billing/checkout", &json!({"plan_slug": "pro"})).await;
        assert_eq!(code(&answer), "unprocessable");
    })
    .await;
}

/// A try that gets no answer is given up after eight seconds, long before the client gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_without_an_answer_is_given_up_and_made_again() {
    paying(|w, stripe| async move {
        stripe.next(&[Mood::Sleeps(Duration::from_secs(3600))]);
        let body = json!({"plan_slug": "pro"});
        let made = w.alice.post("/billing/checkout", &body);
        let made = tokio::time::timeout(Duration::from_secs(30), made).await;
        made.expect("Stripe is waited for without end").assert_status_ok();
        let keys: Vec<_> = stripe.calls_to(CHECKOUTS).into_iter().map(|call| call.key).collect();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    })
    .await;
}

/// A stumble is not seen; after a longer absence the same key goes on. What Stripe was too busy for it knows by the same
/// name then, and what it broke over by another: under the first it would say for a day that it broke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_broke_over_is_tried_again_under_another_key() {
    paying(|w, stripe| async move {
        let body = json!({"plan_slug": "pro"});
        stripe.next(&[Mood::Fails(429), Mood::Fails(500)]);
        w.alice.made("/billing/checkout", &body).await;
        let keys: Vec<_> = stripe.calls().into_iter().map(|call| call.key).collect();
        assert!(keys.len() == 3 && keys[0] == keys[1] && keys[2].starts_with(&keys[0]), "{keys:?}");
        assert_ne!(keys[1], keys[2]);
        for (client, path) in [(&w.alice, "/billing/checkout"), (&w.bob, "/billing/portal")] {
            let body = if path == "/billing/portal" { &json!({}) } else { &body };
            stripe.always(Some(Mood::Fails(503)));
            // A day of it: every try is answered, and every answer is kept.
            for _ in 0..2 {
                let away = keyed(&w, client, path, body, "mine").await;
                assert_eq!(away.status_code(), StatusCode::SERVICE_UNAVAILABLE);
            }
            stripe.always(None);
            let back = keyed(&w, client, path, body, "mine").await;
            assert_eq!(back.status_code(), StatusCode::OK, "{path}: {}", back.text());
        }
    })
    .await;
}
