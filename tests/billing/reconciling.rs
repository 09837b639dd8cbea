//! What was missed is healed: by the night's chore, done by one process alone, or when an operator asks.

use ampout::{
    billing::{reconcile, reconcile_nightly},
    clock::Timestamp,
    models::subscriptions::unended,
};
use futures_util::future::join_all;
use serde_json::json;
use testkit::{
    stripe::{Mood, StripeServer, subscription},
    wait::eventually,
};

use super::{assert_disjoint, began, paid, standing, tell};
use crate::support::{
    billing::{DEADLINE, customer, paying, variables},
    campaign::Engine,
    rows::{self, Rows},
    world, world_with,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_was_missed_is_healed() {
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.bob, "sub_b", "price_scale", "active")).await;
        tell(&w, &stripe, &paid(&w.bob, "sub_gone", "price_hobby", "past_due")).await;
        assert_eq!(standing(&w.bob).await, ("hobby".into(), json!("sub_gone")), "the newest of the two");
        // Nobody was told of any of these; two pages of them.
        stripe.show(&paid(&w.alice, "sub_a", "price_pro", "active"));
        stripe.show(&paid(&w.bob, "sub_b", "price_scale", "canceled"));
        stripe.show(&paid(&w.bob, "sub_gone", "price_hobby", "canceled"));
        stripe.show(&subscription("sub_x", "cus_nobody", "price_pro", "active", began(3)));
        let done = reconcile(&w.state()).await.unwrap();
        assert_eq!((done.subscriptions, done.changed, done.failed), (4, 2, 0), "{done:?}");
        assert_eq!(standing(&w.alice).await, ("pro".into(), json!("sub_a")));
        assert_eq!(standing(&w.bob).await, ("free".into(), json!(null)));
        let again = reconcile(&w.state()).await.unwrap();
        assert_eq!((again.changed, again.failed), (0, 0));
        assert_disjoint(&w).await;
        // Another price for the plan, of which Stripe says nothing.
        w.sql("UPDATE plans SET stripe_price_id = NULL WHERE slug = 'pro'", []).await;
        w.sql("UPDATE plans SET stripe_price_id = 'price_pro' WHERE slug = 'scale'", []).await;
        assert_eq!(reconcile(&w.state()).await.unwrap().changed, 1);
        assert_eq!(standing(&w.alice).await, ("scale".into(), json!("sub_a")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_signed_up_before_there_was_stripe_becomes_a_customer_at_night() {
    let stripe = StripeServer::start().await.unwrap();
    world_with(&variables(&stripe), |w| async move {
        w.sql("DELETE FROM jobs", []).await;
        let engine = Engine::start(&w.ctx);
        for client in [&w.alice, &w.bob] {
            eventually(DEADLINE, || async {
                let seen = client.seen("/billing/subscription").await;
                (seen["stripe_customer_id"] == customer(client).as_str()).then_some(())
            })
            .await
            .unwrap();
        }
        engine.stop().await;
        assert_eq!(stripe.customers(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_does_it_once_a_night() {
    paying(|w, stripe| async move {
        let (state, now) = (w.state(), Timestamp::now());
        let done = join_all((0..4).map(|_| reconcile_nightly(&state, now))).await;
        let did = done.into_iter().filter(|done| done.as_ref().unwrap().is_some()).count();
        assert_eq!((did, stripe.calls_to("/v1/subscriptions").len()), (1, 1));
        assert!(reconcile_nightly(&state, now).await.unwrap().is_none());
        let tomorrow = now.plus(std::time::Duration::from_secs(86_400));
        assert!(reconcile_nightly(&state, tomorrow).await.unwrap().is_some());
        assert_eq!(stripe.calls_to("/v1/subscriptions").len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_stripe_is_away_nothing_changes_and_it_is_tried_again_later() {
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.alice, "sub_a", "price_pro", "active")).await;
        stripe.always(Some(Mood::Fails(503)));
        let now = Timestamp::now();
        assert_eq!(
            reconcile_nightly(&w.state(), now).await.unwrap_err().code.as_str(),
            "service_unavailable"
        );
        assert_eq!(standing(&w.alice).await, ("pro".into(), json!("sub_a")));
        stripe.always(None);
        assert!(reconcile_nightly(&w.state(), now).await.unwrap().is_none(), "its lease has not run out");
        w.sql("UPDATE chores SET locked_until = 1", []).await;
        assert!(reconcile_nightly(&w.state(), now).await.unwrap().is_some());
        // What Stripe does not know any more, it did not end.
        stripe.forget("sub_a");
        let done = reconcile(&w.state()).await.unwrap();
        assert_eq!((done.changed, done.failed), (0, 1));
        assert_eq!(standing(&w.alice).await, ("pro".into(), json!("sub_a")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_refuses_for_many_holds_up_nobody_else() {
    paying(|w, stripe| async move {
        let gone = ["sub_1", "sub_2", "sub_3", "sub_4", "sub_5", "sub_6"];
        for id in gone {
            tell(&w, &stripe, &paid(&w.alice, id, "price_hobby", "active")).await;
        }
        for id in gone {
            stripe.forget(id);
        }
        tell(&w, &stripe, &paid(&w.bob, "sub_b", "price_pro", "active")).await;
        stripe.show(&paid(&w.bob, "sub_b", "price_scale", "active"));
        let done = reconcile(&w.state()).await.unwrap();
        assert_eq!((done.changed, done.failed), (1, 6), "{done:?}");
        assert_eq!(standing(&w.bob).await, ("scale".into(), json!("sub_b")));
    })
    .await;
}

/// The list came, and then Stripe was gone: after five that failed in a row nobody else is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_stripe_goes_away_on_the_way_it_stops_after_five() {
    paying(|w, stripe| async move {
        for (nth, client) in [&w.alice, &w.bob].into_iter().cycle().take(8).enumerate() {
            let account: uuid::Uuid = client.account_id.parse().unwrap();
            let sql = "INSERT INTO subscriptions (id, account_id, stripe_id, status, subscribed_at, fetches_begun, \
                       fetch_stored, created_at) VALUES ($1, $2, $3, 'active', 1, 1, 1, 1)";
            let id = format!("sub_{nth}");
            w.sql(sql, [ampout::clock::new_id().into(), account.into(), id.into()]).await;
        }
        stripe.next(&[Mood::Answers]);
        stripe.always(Some(Mood::Fails(503)));
        assert_eq!(reconcile(&w.state()).await.unwrap_err().code.as_str(), "service_unavailable");
        let asked = (0..8).filter(|nth| !stripe.calls_to(&format!("/v1/subscriptions/sub_{nth}")).is_empty());
        assert_eq!(asked.count(), 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_the_other_mode_or_of_nobody_is_listed_and_let_be() {
    paying(|w, stripe| async move {
        let mut live = paid(&w.alice, "sub_live", "price_pro", "active");
        live["livemode"] = json!(true);
        stripe.show(&live);
        stripe.show(&subscription("sub_x", "cus_nobody", "price_pro", "active", began(3)));
        let done = reconcile(&w.state()).await.unwrap();
        assert_eq!((done.subscriptions, done.changed, done.failed), (2, 0, 0), "{done:?}");
        assert_eq!(stripe.calls_to("/v1/subscriptions/sub_live"), []);
        assert_eq!(w.number("SELECT count(*) FROM subscriptions", []).await, 0);
        assert_eq!(standing(&w.alice).await, ("free".into(), json!(null)));
    })
    .await;
}

#[tokio::test]
async fn what_is_stored_as_running_is_looked_at_page_by_page() {
    world(|w| async move {
        let mut stored = vec![];
        for (client, status) in
            [(&w.alice, "active"), (&w.bob, "past_due"), (&w.alice, "canceled"), (&w.bob, "active")]
        {
            let mut row = Rows::of(client.account_id.parse().unwrap()).subscription;
            (row.status, row.stripe_id) = (status.into(), format!("sub_{}", stored.len()));
            rows::insert(&w.ctx.db, &row).await.unwrap();
            stored.push(row);
        }
        let (reads, mut seen, mut after) = (w.state().reads(), vec![], None);
        loop {
            let page = unended(&reads, after, 2).await.unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.into_iter().map(|known| (known.account_id, known.stripe_id)));
        }
        stored.remove(2);
        stored.sort_by_key(|row| row.id);
        let running: Vec<_> = stored.into_iter().map(|row| (row.account_id, row.stripe_id)).collect();
        assert_eq!(seen, running);
    })
    .await;
}
