//! A world with Stripe: a stand-in, prices for the plans, and two accounts that it knows.

use std::{future::Future, sync::Arc, time::Duration};

use axum_test::TestResponse;
use serde_json::Value;
use stripe_webhook::Webhook;
use testkit::stripe::{SECRET_KEY, StripeServer};

use super::{Client, World, world_with};

/// What events are signed with; the first is about to be replaced.
pub const WEBHOOK_SECRETS: [&str; 2] = ["whsec_old", "whsec_new"];
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The customer of an account in [`paying`].
pub fn customer(client: &Client) -> String {
    format!("cus_{}", client.account_id.replace('-', ""))
}

/// The variables of billing.
pub fn variables(stripe: &StripeServer) -> Vec<(&'static str, String)> {
    vec![
        ("STRIPE_SECRET_KEY", SECRET_KEY.to_owned()),
        ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRETS.join(", ")),
        ("STRIPE_API_BASE", stripe.base()),
        ("STRIPE_PRICE_HOBBY", "price_hobby".to_owned()),
        ("STRIPE_PRICE_PRO", "price_pro".to_owned()),
        ("STRIPE_PRICE_SCALE", "price_scale".to_owned()),
        ("BILLING_RETURN_URL", "https://app.example.com/billing".to_owned()),
    ]
}

/// A world whose accounts are customers. The jobs that signing up stored are forgotten.
pub async fn paying<F, Fut>(test: F)
where
    F: FnOnce(World, Arc<StripeServer>) -> Fut,
    Fut: Future<Output = ()>,
{
    let stripe = Arc::new(StripeServer::start().await.unwrap());
    world_with(&variables(&stripe), |w| async move {
        know_all(&w).await;
        w.sql("DELETE FROM jobs", []).await;
        test(w, stripe).await;
    })
    .await;
}

/// The same for tests that only need the routes of billing to succeed.
pub async fn paying_world<F, Fut>(test: F)
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = ()>,
{
    paying(|w, stripe| async move {
        test(w).await;
        drop(stripe);
    })
    .await;
}

/// Gives every account its customer.
pub async fn know_all(w: &World) {
    for id in w.ids("SELECT id FROM accounts WHERE stripe_customer_id IS NULL", []).await {
        let customer = format!("cus_{}", id.simple());
        let sql = "UPDATE accounts SET stripe_customer_id = $2 WHERE id = $1";
        w.sql(sql, [id.into(), customer.into()]).await;
    }
}

/// Says that the night's comparison was done, for ever.
pub async fn no_night(w: &World) {
    w.sql("INSERT INTO chores (name, done_at) VALUES ('stripe_reconcile', 4102444800000000)", []).await;
}

/// Sends an event, signed.
pub async fn send_event(w: &World, event: &Value) -> TestResponse {
    let body = event.to_string();
    let signature = Webhook::generate_test_header(&body, WEBHOOK_SECRETS[1], None);
    let request = w.server.post("/webhooks/stripe").add_header("stripe-signature", signature);
    request.content_type("application/json").bytes(body.into_bytes().into()).await
}
