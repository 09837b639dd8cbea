//! `account_erase` where there is Stripe: nobody pays for an account that is gone, and nothing of it stays there.

use std::sync::Arc;

use ampout::{billing::customers, errors::ApiResult};
use rstest::rstest;
use serde_json::json;
use testkit::stripe::{Mood, StripeServer, subscription};

use super::{answer, end_of, killed_at, prepared, run};
use crate::support::{
    Client, World,
    billing::{DEADLINE, customer, no_night, variables},
    world_with,
};

const ERASE: [&str; 3] = ["account_erase", "account:alice@example.com", "confirm:alice@example.com"];

/// A world with Stripe, which knows nobody yet.
async fn selling<F, Fut>(test: F)
where
    F: FnOnce(World, Arc<StripeServer>) -> Fut,
    Fut: Future<Output = ()>,
{
    let stripe = Arc::new(StripeServer::start().await.unwrap());
    world_with(&variables(&stripe), |w| async move {
        no_night(&w).await;
        test(w, stripe).await;
    })
    .await;
}

async fn made(w: &World, client: &Client) -> ApiResult<bool> {
    let state = w.state();
    customers::make(&state, state.stripe.as_ref().unwrap(), client.account_id.parse().unwrap()).await
}

/// Makes both customers, and has each buy something of which we have not heard.
async fn bought(w: &World, stripe: &StripeServer) {
    let now = ampout::clock::Timestamp::now().seconds();
    for (client, id) in [(&w.alice, "sub_a"), (&w.bob, "sub_b")] {
        assert!(made(w, client).await.unwrap());
        let period = (now - 60, now + 2_592_000);
        stripe.show(&subscription(id, &customer(client), "price_pro", "active", period));
    }
}

async fn has_ended(w: &World) -> bool {
    w.number("SELECT count(*) FROM accounts WHERE erased_at IS NOT NULL", []).await == 1
}

/// Of the other account Stripe still has everything.
async fn assert_bobs_alone(w: &World, stripe: &StripeServer) {
    assert!(has_ended(w).await);
    assert_eq!(stripe.customers_left(), [customer(&w.bob)]);
    assert_eq!(stripe.status("sub_a").as_deref(), Some("canceled"));
    assert_eq!(stripe.status("sub_b").as_deref(), Some("active"));
    let kept = "SELECT count(*) FROM accounts WHERE stripe_customer_id IS NOT NULL";
    assert_eq!(w.number(kept, []).await, 1);
    let seen = w.bob.seen("/billing/subscription").await;
    assert_eq!(seen["stripe_customer_id"], customer(&w.bob).as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_customer_goes_with_what_it_bought_meanwhile() {
    selling(|w, stripe| async move {
        bought(&w, &stripe).await;
        answer(&w, &ERASE).await;
        assert_bobs_alone(&w, &stripe).await;
        let asked = stripe.calls().len();
        let once_more = ["account_erase", &format!("account:{}", w.alice.account_id), "confirm:again"];
        answer(&w, &once_more).await;
        assert_eq!(stripe.calls().len(), asked, "what is erased stays so");
    })
    .await;
}

/// The job that made it was killed before it could say so. Who has the same address elsewhere is let be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_that_we_never_heard_of_goes_too() {
    selling(|w, stripe| async move {
        let state = w.state();
        let known = state.stripe.as_ref().unwrap();
        let mine = w.alice.account_id.parse().unwrap();
        known.make_customer(mine, "alice@example.com", None).await.unwrap();
        let other = ampout::clock::new_id();
        let other = known.make_customer(other, "alice@example.com", None).await.unwrap();
        answer(&w, &ERASE).await;
        assert!(has_ended(&w).await);
        assert_eq!(stripe.customers_left(), [other]);
    })
    .await;
}

/// It asks Stripe for the customer when the account is erased, and finds out when it wants to store it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_that_is_being_made_meanwhile_does_not_stay() {
    selling(|w, stripe| async move {
        stripe.hold();
        let erased = async {
            stripe.wait_for_calls(1, DEADLINE).await.unwrap();
            answer(&w, &ERASE).await
        };
        let both_looked = async {
            stripe.wait_for_calls(2, DEADLINE).await.unwrap();
            stripe.release();
        };
        let (made, _, ()) = tokio::join!(made(&w, &w.alice), erased, both_looked);
        assert!(!made.unwrap());
        assert_eq!((stripe.customers(), stripe.customers_left().len()), (1, 0));
        assert!(has_ended(&w).await);
    })
    .await;
}

/// The owner is locked out, and forgotten only when Stripe has forgotten it: by the engine, or by the next run.
#[rstest]
#[case::the_next_run(false)]
#[case::an_engine(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_stripe_is_away_the_erasing_does_not_end(#[case] by_engine: bool) {
    selling(|w, stripe| async move {
        bought(&w, &stripe).await;
        stripe.always(Some(Mood::Fails(503)));
        let refusal = run(&w, &ERASE).await;
        assert!(refusal.refusal().contains("run it again"), "{}", refusal.refusal());
        w.alice.get("/account").await.assert_status_unauthorized();
        customers::forget_erased(&w.state()).await.unwrap();
        answer(&w, &["purge"]).await;
        assert!(!has_ended(&w).await);
        assert_eq!(stripe.customers_left().len(), 2);
        stripe.always(None);
        if by_engine {
            customers::forget_erased(&w.state()).await.unwrap();
            answer(&w, &["purge"]).await;
        } else {
            answer(&w, &ERASE).await;
        }
        assert_bobs_alone(&w, &stripe).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_is_noted_the_next_run_finds_it_gone() {
    selling(|w, stripe| async move {
        bought(&w, &stripe).await;
        killed_at(&w, &ERASE, "stripe-customer-deleted", 0).await;
        assert_eq!(stripe.customers_left(), [customer(&w.bob)]);
        assert!(!has_ended(&w).await);
        answer(&w, &ERASE).await;
        assert_bobs_alone(&w, &stripe).await;
    })
    .await;
}

/// A shell that has no key for Stripe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_it_says_which_customer_would_stay() {
    selling(|w, stripe| async move {
        bought(&w, &stripe).await;
        let asked = stripe.calls().len();
        let (mine, theirs) = (customer(&w.alice), customer(&w.bob));
        let keyless = |more: &str| {
            let words = [&ERASE[..], &[more, "format:json"]].concat();
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            prepared(&w, &words).env("STRIPE_SECRET_KEY", "").env("STRIPE_WEBHOOK_SECRET", "")
        };
        let refused = end_of(&keyless("")).await;
        assert!(refused.refusal().contains(&format!("`customer:{mine}`")), "{}", refused.refusal());
        let refused = end_of(&keyless(&format!("customer:{theirs}"))).await;
        assert!(refused.refusal().contains("`customer:"), "{}", refused.refusal());
        w.alice.get("/account").await.assert_status_ok();
        let erased = end_of(&keyless(&format!("customer:{mine}"))).await.json();
        assert_eq!(erased["id"], json!(w.alice.account_id));
        assert!(has_ended(&w).await);
        assert_eq!(stripe.calls().len(), asked, "the operator did it");
        let kept = w.bob.seen("/billing/subscription").await;
        assert_eq!(kept["stripe_customer_id"], theirs.as_str());
    })
    .await;
}
