//! Those who add addresses to an account go side by side, and never beside one who suppresses.

use std::{sync::Arc, time::Duration};

use ampout::{
    clock::Timestamp,
    db::WriteTx,
    models::suppressions,
    tenancy::{Conn, Scope, SystemScope},
};
use futures_util::future::join_all;
use sea_orm::DbBackend;
use serde_json::json;
use testkit::wait::eventually;

use crate::support::{World, campaign::DEADLINE, world};

use super::removal::waiting;

/// Rows of an import: more than two transactions take.
const ROWS: u32 = 11_000;

/// Addresses, beginning with number `from`, up or down.
fn rows(from: u32, down: bool) -> Vec<serde_json::Value> {
    let mut numbers: Vec<u32> = (0..ROWS).map(|n| (n + from) % ROWS).collect();
    if down {
        numbers.reverse();
    }
    numbers.iter().map(|n| json!({"email": format!("person-{n:05}@example.com")})).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_of_the_same_addresses_at_once_add_each_once() {
    world(|w| async move {
        w.bob
            .made("/contact_imports", &json!({"contact_import": {"name": "b", "contacts": rows(0, false)}}))
            .await;
        let imports = [(0, false), (0, true), (7_000, false), (4_000, true)].map(|(from, down)| {
            let body = json!({"contact_import": {"name": "same", "contacts": rows(from, down)}});
            let alice = w.alice.clone();
            async move { alice.made("/contact_imports", &body).await }
        });
        let made = tokio::time::timeout(DEADLINE, join_all(imports)).await.unwrap();
        let added = made.iter().map(|import| import["record_count"].as_u64().unwrap());
        assert_eq!(added.sum::<u64>(), u64::from(ROWS));
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 2 * i64::from(ROWS));
        let unfinished =
            "SELECT count(*) FROM contact_imports WHERE status <> 'completed' OR deleted_at IS NOT NULL";
        assert_eq!(w.number(unfinished, []).await, 0);
    })
    .await;
}

async fn begin(w: &World) -> (Arc<WriteTx>, Scope) {
    let tx = Arc::new(w.db().begin().await.unwrap());
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(w.alice.account_id.parse().unwrap());
    (tx, scope)
}

async fn end((tx, scope): (Arc<WriteTx>, Scope)) {
    drop(scope);
    tx.commit_shared().await.unwrap();
}

/// Waits until as many wait for a lock of the database's.
async fn until_waiting(w: &World, many: i64) {
    let seen = eventually(DEADLINE, || async { (waiting(w).await == many).then_some(()) }).await;
    assert!(seen.is_ok(), "{} wait", waiting(w).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_suppresses_waits_for_those_who_add_and_is_not_overtaken() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            // One writer at a time.
            return;
        }
        let (one, two) = (begin(&w).await, begin(&w).await);
        suppressions::share_addresses(&one.1).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), suppressions::share_addresses(&two.1))
            .await
            .unwrap()
            .unwrap();
        let suppressing = tokio::spawn({
            let (w, key) = (w.clone(), w.state().suppression_key);
            async move {
                let held = begin(&w).await;
                suppressions::unsubscribe(&held.1, &key, "jo@example.com", Timestamp::now()).await.unwrap();
                end(held).await;
            }
        });
        until_waiting(&w, 1).await;
        let body = json!({"contact_import": {"name": "late", "contacts": [{"email": "jo@example.com"}]}});
        let ending = async {
            until_waiting(&w, 2).await;
            end(one).await;
            end(two).await;
        };
        let (import, ()) = tokio::join!(w.alice.made("/contact_imports", &body), ending);
        suppressing.await.unwrap();
        let contacts =
            w.alice.seen(&format!("/contact_imports/{}/contacts", import["id"].as_str().unwrap())).await;
        assert!(contacts[0]["unsubscribed_at"].is_string(), "{contacts}");
    })
    .await;
}
