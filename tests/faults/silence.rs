//! The machine of the database is gone without a word: nothing closes the connections, nothing answers on them.

use std::time::Duration;

use ampout::{
    billing::{reconcile, reconcile_nightly},
    clock::Timestamp,
    db::{self, Db},
};
use testkit::{
    sink::{Matcher, Point, Sink},
    stripe::subscription,
    wait::eventually,
};

use super::{heir_process, lost::line};
use crate::support::{
    billing::{customer, paying},
    campaign::*,
    world,
};

const PEOPLE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_for_ever_are_given_up() {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let people = addresses("ok", PEOPLE);
        for (lane, people) in ["one@sender.test", "two@sender.test"].iter().zip(people.chunks(PEOPLE / 2)) {
            dispatched(&w.alice, &campaign(&[credential(&sink, lane)], 1), people).await;
        }
        let engine = heir_process(&w).env("DATABASE_URL", url).start().unwrap();
        // Of both lanes nothing is under way to the database then that could be a mark.
        hold.reached_by(2, DEADLINE).await.unwrap();
        proxy.freeze();
        hold.release();
        // The process may have been declared dead before it had a line again: then what was on the wire is uncertain.
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
        let all = eventually(DEADLINE, || async {
            rests_are_over(&w).await;
            (usize::try_from(w.number(settled, []).await).unwrap() == PEOPLE).then_some(())
        });
        assert!(all.await.is_ok(), "{}", engine.output());
        let uncertain = "SELECT count(*) FROM deliveries WHERE state = 'uncertain'";
        assert!(w.number(uncertain, []).await <= 2, "one for each connection\n{}", engine.output());
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}\n{}", engine.output());
        }
    })
    .await;
}

/// Whoever gave up waiting for an answer leaves a connection behind that still waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fell_silent_makes_room_for_another() {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let mut config = w.ctx.config.database.clone();
        (config.uri, config.min_connections, config.max_connections) = (url, 0, 2);
        config.acquire_timeout = Some(u64::try_from(DEADLINE.as_millis()).unwrap());
        let db = Db::new(db::connect(&config).await.unwrap());
        let held = [db.begin().await.unwrap(), db.begin().await.unwrap()];
        proxy.freeze();
        for tx in held {
            assert!(tokio::time::timeout(Duration::ZERO, tx.commit()).await.is_err(), "nothing answers");
        }
        let again = tokio::time::timeout(DEADLINE, db.begin()).await;
        again.expect("the connections that fell silent kept their places").unwrap().rollback().await.unwrap();
    })
    .await;
}

/// It is not asked whether it lives before it is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fell_silent_while_it_was_kept_is_replaced() {
    world(|w| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let mut config = w.ctx.config.database.clone();
        (config.uri, config.min_connections) = (url, 0);
        let db = Db::new(db::connect(&config).await.unwrap()).apart("SET lock_timeout = '5s'");
        db.begin().await.unwrap().commit().await.unwrap();
        proxy.freeze();
        let again = tokio::time::timeout(DEADLINE, db.begin()).await;
        again.expect("the silent one is waited for").unwrap().commit().await.unwrap();
        db.begin().await.unwrap().commit().await.unwrap();
    })
    .await;
}

/// Neither the night's comparison nor, with it, the loop that does it waits for ever: what it could not do it passes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_with_stripe_whose_database_falls_silent_ends() {
    paying(|w, stripe| async move {
        let Some((proxy, url)) = line(&w).await else { return };
        let mut config = w.ctx.config.database.clone();
        (config.uri, config.min_connections) = (url, 0);
        let mut state = w.state();
        state.db = Db::new(db::connect(&config).await.unwrap());
        let now = Timestamp::now();
        let period = (now.seconds() - 60, now.seconds() + 2_592_000);
        stripe.show(&subscription("sub_1", &customer(&w.alice), "price_hobby", "active", period));
        stripe.hold();
        let silenced = async {
            stripe.wait_for_calls(1, DEADLINE).await.unwrap();
            // The one connection is the one that is used next.
            let pool = state.db.pool().get_postgres_connection_pool();
            eventually(DEADLINE, || async { (pool.num_idle() == 1).then_some(()) }).await.unwrap();
            proxy.freeze();
            stripe.release();
        };
        let compared = tokio::time::timeout(4 * DEADLINE, reconcile_nightly(&state, now));
        let (ended, ()) = tokio::join!(compared, silenced);
        let done = ended.expect("the silence has no end").unwrap().unwrap();
        assert_eq!((done.subscriptions, done.changed, done.failed), (1, 0, 1));
        assert_eq!(reconcile(&state).await.unwrap().changed, 1);
        assert_eq!(w.bob.seen("/billing/subscription").await["plan"]["slug"], "free");
    })
    .await;
}
