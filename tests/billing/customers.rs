//! The customer that a signup makes at Stripe: by a job, once, whatever Stripe is up to.

use std::{sync::Arc, time::Duration};

use ampout::billing::customers;
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
        let calls = stripe.calls_to("/v1/customers");
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
