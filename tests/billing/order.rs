//! In whatever order events come, however often and at how many places at once they are worked on, the end is the same:
//! what Stripe shows last.

use ampout::billing::inbound;
use futures_util::future::join_all;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use testkit::stripe::{StripeServer, event};

use super::{assert_disjoint, paid, standing};
use crate::support::{
    World,
    billing::{DEADLINE, paying, send_event},
};

/// The life of a subscription: what happens, and how it stands then.
const LIFE: [(&str, &str, &str); 5] = [
    ("customer.subscription.created", "incomplete", "price_hobby"),
    ("customer.subscription.updated", "active", "price_hobby"),
    ("customer.subscription.updated", "active", "price_pro"),
    ("invoice.payment_failed", "past_due", "price_pro"),
    ("customer.subscription.deleted", "canceled", "price_pro"),
];

/// What an event of that kind is about.
fn object(kind: &str, shown: &Value) -> Value {
    if kind == "invoice.payment_failed" {
        return json!({"id": "in_1", "customer": shown["customer"], "subscription": shown["id"]});
    }
    shown.clone()
}

/// Every order of the first one to `count` events, each once.
fn every_order(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    let mut found = vec![];
    for length in 1..=count {
        // The newest is put into every place of every order of the earlier ones.
        all = all
            .iter()
            .flat_map(|order: &Vec<usize>| {
                (0..length).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, length - 1);
                    order
                })
            })
            .collect();
        found.extend(all.clone());
    }
    found
}

/// Some orders of up to `count` events of which some come twice: all are sent, and worked on in that order.
fn doubled(count: usize) -> Vec<Vec<usize>> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let strategy = (1..=count).prop_flat_map(|length| {
        let events: Vec<usize> = (0..length).chain(0..length).collect();
        (Just(events).prop_shuffle(), length..=2 * length).prop_map(move |(mut order, kept)| {
            // Each at least once: what is cut off is put in front if it is not there.
            let cut = order.split_off(kept);
            let mut whole: Vec<usize> = cut.into_iter().filter(|one| !order.contains(one)).collect();
            whole.append(&mut order);
            whole
        })
    });
    (0..60).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Sends and works on them. An event comes after what it tells of, and later ones may be ahead of it: Stripe shows what the
/// latest so far tells of.
async fn work(w: &World, stripe: &StripeServer, run: usize, order: &[usize]) {
    let stands = |nth: usize| {
        let (_, status, price) = LIFE[nth];
        paid(&w.alice, &format!("sub_{run}"), price, status)
    };
    let mut latest = 0;
    for (turn, nth) in order.iter().enumerate() {
        latest = latest.max(*nth);
        stripe.show(&stands(latest));
        let (kind, ..) = LIFE[*nth];
        let id = format!("evt_{run}_{nth}");
        send_event(w, &event(&id, kind, &object(kind, &stands(*nth)))).await.assert_status_ok();
        if turn % 2 == 0 {
            inbound::apply(&w.state(), &id).await.unwrap();
        }
    }
    for nth in order {
        inbound::apply(&w.state(), &format!("evt_{run}_{nth}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_any_order_and_repetition_the_end_is_what_stripe_shows() {
    paying(|w, stripe| async move {
        let orders = every_order(LIFE.len()).into_iter().chain(doubled(LIFE.len()));
        for (run, order) in orders.enumerate() {
            let last = *order.iter().max().unwrap();
            let (_, status, price) = LIFE[last];
            let id = format!("sub_{run}");
            work(&w, &stripe, run, &order).await;
            let expected = match status {
                "active" | "past_due" => (price.replace("price_", ""), json!(id)),
                _ => ("free".to_owned(), json!(null)),
            };
            assert_eq!(standing(&w.alice).await, expected, "{order:?}");
            assert_disjoint(&w).await;
            // The next run begins with an account that pays nothing.
            super::tell(&w, &stripe, &paid(&w.alice, &id, price, "canceled")).await;
        }
        assert_eq!(standing(&w.bob).await, ("free".into(), json!(null)));
    })
    .await;
}

/// The older answer arrives last and is not stored: the fetch that began later has the word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_fetch_never_replaces_a_newer_one() {
    paying(|w, stripe| async move {
        let active = paid(&w.alice, "sub_1", "price_pro", "active");
        stripe.show(&active);
        for id in ["evt_1", "evt_2"] {
            send_event(&w, &event(id, "customer.subscription.updated", &active)).await.assert_status_ok();
        }
        stripe.hold();
        let state = w.state();
        let old = tokio::spawn(async move { inbound::apply(&state, "evt_1").await });
        stripe.wait_for_calls(1, DEADLINE).await.unwrap();
        let mut ended = active.clone();
        ended["status"] = json!("canceled");
        stripe.show(&ended);
        stripe.release();
        // The first has seen `active` and is let go together with the second, which sees the end.
        let state = w.state();
        let new = tokio::spawn(async move { inbound::apply(&state, "evt_2").await });
        old.await.unwrap().unwrap();
        new.await.unwrap().unwrap();
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
        // The numbers decide, not the order of the answers.
        let scope = w.state().reads().account(w.alice.account_id.parse().unwrap());
        let row = ampout::models::subscriptions::find(&scope, "sub_1").await.unwrap().unwrap();
        assert_eq!((row.fetches_begun, row.fetch_stored, row.status.as_str()), (2, 2, "canceled"));
        let late = ampout::models::subscriptions::Snapshot {
            stripe_id: "sub_1".into(),
            status: "active".into(),
            price_id: Some("price_pro".into()),
            item_id: None,
            span: None,
            ended_at: None,
            subscribed_at: row.subscribed_at,
        };
        let db = w.db();
        let stored = ampout::tenancy::SystemScope::in_transaction(&db, async |system| {
            let scope = system.account(w.alice.account_id.parse().unwrap());
            ampout::models::subscriptions::store(&scope, 1, &late, ampout::clock::Timestamp::now()).await
        });
        assert!(!stored.await.unwrap());
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worked_on_by_many_at_once_two_accounts_end_right() {
    paying(|w, stripe| async move {
        let clients = [(&w.alice, "sub_a", "price_hobby"), (&w.bob, "sub_b", "price_scale")];
        for (client, id, price) in clients {
            let shown = paid(client, id, price, "active");
            stripe.show(&shown);
            for nth in 0..6 {
                let told = event(&format!("evt_{id}_{nth}"), "customer.subscription.updated", &shown);
                send_event(&w, &told).await.assert_status_ok();
            }
        }
        let ids: Vec<String> = (0..6)
            .flat_map(|nth| clients.map(|(_, id, _)| format!("evt_{id}_{nth}")))
            .flat_map(|id| [id.clone(), id])
            .collect();
        let state = w.state();
        for done in join_all(ids.iter().map(|id| inbound::apply(&state, id))).await {
            done.unwrap();
        }
        assert_eq!(standing(&w.alice).await, ("hobby".into(), json!("sub_a")));
        assert_eq!(standing(&w.bob).await, ("scale".into(), json!("sub_b")));
        assert_disjoint(&w).await;
    })
    .await;
}
