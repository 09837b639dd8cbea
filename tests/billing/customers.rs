//! The customer that a signup makes at Stripe: by a job, once, whatever Stripe is up to.

use std::{sync::Arc, time::Duration};

use ampout::{billing::customers, errors::ApiResult};
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::json;
use testkit::{
    stripe::{Mood, StripeServer},
    wait::eventually,
};

use crate::support::{
    Client, World,
    billing::{DEADLINE, customer, no_night, variables},
    campaign::Engine,
    world, world_with,
};

async fn signing_up<F, Fut>(test: F)
where
    F: FnOnce(World, Arc<StripeServer>) -> Fut,
    Fut: Future<Output = ()>,
{
    let stripe = Arc::new(StripeServer::start().await.unwrap());
    world_with(&variables(&stripe), |w| async move { test(w, stripe).await }).await;
}

async fn until_known(client: &Client) {
    let seen = eventually(DEADLINE, || async {
        let seen = client.seen("/billing/subscription").await;
        (seen["stripe_customer_id"] == customer(client).as_str()).then_some(())
    });
    seen.await.unwrap();
}

const JOBS: &str = "SELECT count(*) FROM jobs WHERE name = 'MakeStripeCustomer'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signup_stores_the_job_and_asks_stripe_for_nothing() {
    signing_up(|w, stripe| async move {
        no_night(&w).await;
        assert_eq!(w.number(JOBS, []).await, 2);
        assert_eq!(stripe.calls(), []);
        let taken = w.server.post("/signup").json(&json!({"email": "alice@example.com"})).await;
        taken.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(w.number(JOBS, []).await, 2, "a refused signup leaves no job");
        let engine = Engine::start(&w.ctx);
        until_known(&w.alice).await;
        until_known(&w.bob).await;
        engine.stop().await;
        let mut calls = stripe.calls_to("/v1/customers");
        calls.retain(|call| call.method == "POST");
        assert_eq!(calls.len(), 2);
        let mine = calls.iter().find(|call| call.fields["email"] == "alice@example.com").unwrap();
        assert_eq!(mine.key, format!("ampout-customer-{}", w.alice.account_id));
        assert_eq!(mine.fields["metadata[account_id]"], w.alice.account_id);
    })
    .await;
}

#[tokio::test]
async fn without_stripe_a_signup_stores_no_job() {
    world(|w| async move { assert_eq!(w.number(JOBS, []).await, 0) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_up_works_while_stripe_is_down_busy_slow_or_out_of_its_mind() {
    signing_up(|w, stripe| async move {
        let engine = Engine::start(&w.ctx);
        for (nth, mood) in
            [Mood::Fails(500), Mood::Fails(429), Mood::Babbles, Mood::Sleeps(Duration::from_secs(3600))]
                .into_iter()
                .enumerate()
        {
            stripe.always(Some(mood));
            Client::sign_up(&w.server, &format!("new{nth}@example.com")).await;
        }
        let asked = stripe.calls().len();
        stripe.wait_for_calls(asked + 1, DEADLINE).await.unwrap();
        stripe.always(None);
        // The waits between tries are not waited for here.
        eventually(DEADLINE, || async {
            w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
            let unknown = "SELECT count(*) FROM accounts WHERE stripe_customer_id IS NULL";
            (w.number(unknown, []).await == 0).then_some(())
        })
        .await
        .unwrap();
        engine.stop().await;
        assert_eq!(stripe.customers(), 6, "one customer for each account, however often it was tried");
    })
    .await;
}

/// Nobody listens where Stripe should be: signing up does not notice, and the job stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_up_works_where_stripe_cannot_be_reached() {
    let stripe = StripeServer::start().await.unwrap();
    let mut variables = variables(&stripe);
    let nowhere = format!("http://127.0.0.1:{}", testkit::child::free_port().unwrap());
    variables.retain(|(name, _)| *name != "STRIPE_API_BASE");
    variables.push(("STRIPE_API_BASE", nowhere));
    world_with(&variables, |w| async move {
        no_night(&w).await;
        let engine = Engine::start(&w.ctx);
        let tried = "SELECT count(*) FROM jobs WHERE name = 'MakeStripeCustomer' AND status = 'queued' \
                     AND attempts > 0 AND last_error IS NOT NULL";
        eventually(DEADLINE, || async { (w.number(tried, []).await == 2).then_some(()) }).await.unwrap();
        Client::sign_up(&w.server, "carol@example.com").await;
        engine.stop().await;
        assert_eq!(w.number(JOBS, []).await, 3);
        w.alice.get("/account").await.assert_status_ok();
    })
    .await;
    assert_eq!(stripe.calls(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_by_many_at_once_there_is_one_customer() {
    signing_up(|w, stripe| async move {
        let state = w.state();
        let known = state.stripe.clone().unwrap();
        let account = w.alice.account_id.parse().unwrap();
        let made = join_all((0..8).map(|_| customers::make(&state, &known, account))).await;
        assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
        assert_eq!(stripe.customers(), 1);
        assert_eq!(w.bob.seen("/billing/subscription").await["stripe_customer_id"], json!(null));
    })
    .await;
}

async fn made(w: &World, client: &Client) -> ApiResult<bool> {
    let state = w.state();
    customers::make(&state, state.stripe.as_ref().unwrap(), client.account_id.parse().unwrap()).await
}

/// Stripe goes on saying under the same key that it broke: whoever only asks again never gets a customer that day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_stripe_is_mended_what_it_broke_over_is_made() {
    signing_up(|w, stripe| async move {
        stripe.always(Some(Mood::Answers));
        for _ in 0..2 {
            // Looking is answered; making breaks, with each of its keys.
            stripe.next(&[Mood::Answers, Mood::Fails(500)].repeat(3));
            made(&w, &w.alice).await.unwrap_err();
        }
        assert!(made(&w, &w.alice).await.unwrap());
        assert_eq!(stripe.customers_left(), [customer(&w.alice)]);
        assert!(made(&w, &w.bob).await.unwrap());
        assert_eq!(stripe.customers(), 2);
    })
    .await;
}

/// It broke, and had made one all the same; or made one of which nothing was heard for longer than it keeps a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_made_before_it_broke_is_found_and_not_made_again() {
    signing_up(|w, stripe| async move {
        // Look-alikes: of the same address and of another account, so many that a page does not hold them.
        let state = w.state();
        let known = state.stripe.as_ref().unwrap();
        for _ in 0..3 {
            known.make_customer(ampout::clock::new_id(), "alice@example.com", None).await.unwrap();
        }
        stripe.always(Some(Mood::Breaks));
        assert!(made(&w, &w.alice).await.unwrap());
        stripe.always(None);
        let bob = w.bob.account_id.parse().unwrap();
        known.make_customer(bob, "bob@example.com", None).await.unwrap();
        stripe.forget_keys();
        assert!(made(&w, &w.bob).await.unwrap());
        assert_eq!(stripe.customers(), 5);
        until_known(&w.alice).await;
        until_known(&w.bob).await;
    })
    .await;
}

/// Two that saw Stripe break, and no customer, each make one under a key of their own: the one that comes too late with
/// its customer takes it away again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_were_made_at_once_one_stays() {
    signing_up(|w, stripe| async move {
        stripe.hold();
        let looked = async {
            stripe.wait_for_calls(2, DEADLINE).await.unwrap();
            // Both have looked, and Stripe breaks over both.
            stripe.next(&[Mood::Fails(500), Mood::Fails(500)]);
            stripe.release();
        };
        let (one, two, ()) = tokio::join!(made(&w, &w.alice), made(&w, &w.alice), looked);
        assert!(one.unwrap() != two.unwrap());
        assert_eq!(stripe.customers_left().len(), 1);
        let seen = w.alice.seen("/billing/subscription").await;
        assert_eq!(seen["stripe_customer_id"], json!(stripe.customers_left()[0]));
    })
    .await;
}
