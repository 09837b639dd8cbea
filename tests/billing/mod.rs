//! Billing against a stand-in for Stripe: whatever is said in whatever order, accounts end where Stripe has them.

mod customers;
mod events;
mod mails;
mod order;
mod periods;
mod plan_changes;
mod reconciling;
mod split;

use std::sync::OnceLock;

use ampout::{billing::inbound, clock::Timestamp};
use serde_json::{Value, json};
use testkit::stripe::{StripeServer, event, subscription};

use crate::support::{
    Client, World,
    billing::{customer, send_event},
};

const DAY: i64 = 86_400;

/// Seconds since the epoch.
fn now() -> i64 {
    Timestamp::now().seconds()
}

/// A period that began `days` ago and lasts thirty.
fn began(days: i64) -> (i64, i64) {
    (now() - days * DAY, now() + (30 - days) * DAY)
}

/// The period of [`paid`], the same in the whole run. It began in this month, whichever day it is.
fn running() -> (i64, i64) {
    static PERIOD: OnceLock<(i64, i64)> = OnceLock::new();
    *PERIOD.get_or_init(|| {
        let start = Timestamp::now().month_start().seconds().midpoint(now());
        (start, start + 30 * DAY)
    })
}

/// A subscription of this account in the period that is [`running`].
fn paid(client: &Client, id: &str, price: &str, status: &str) -> Value {
    subscription(id, &customer(client), price, status, running())
}

/// Shows the subscription at Stripe, sends an event about it, and works on that.
async fn tell(w: &World, stripe: &StripeServer, shown: &Value) {
    stripe.show(shown);
    notify(w, &format!("evt_{}", ampout::clock::new_id().simple()), shown).await;
}

/// Sends an event about a subscription, and works on it.
async fn notify(w: &World, id: &str, shown: &Value) {
    send_event(w, &event(id, "customer.subscription.updated", shown)).await.assert_status_ok();
    inbound::apply(&w.state(), id).await.unwrap();
}

/// What an account is on: the plan's slug, and the subscription that it follows.
async fn standing(client: &Client) -> (String, Value) {
    let seen = client.seen("/billing/subscription").await;
    (seen["plan"]["slug"].as_str().unwrap().to_owned(), seen["stripe_subscription_id"].clone())
}

/// Whether no two periods of an account overlap, and none is empty.
async fn assert_disjoint(w: &World) {
    let overlaps = "SELECT count(*) FROM account_periods a JOIN account_periods b ON b.account_id = a.account_id \
                    AND b.period_start > a.period_start AND b.period_start < a.period_end";
    assert_eq!(w.number(overlaps, []).await, 0, "periods overlap");
    let empty = "SELECT count(*) FROM account_periods WHERE period_end <= period_start";
    assert_eq!(w.number(empty, []).await, 0, "a period is empty");
}

/// A message that is sent by `test_send` counts like any other.
fn test_send() -> Value {
    json!({ "emails": ["try@example.test"] })
}
