//! Transactions one after the other on a connection that is kept (SQLite's writer; on PostgreSQL a database apart).

use std::{sync::Arc, time::Duration};

use ampout::{
    db::{Db, WriteTx},
    tenancy::{Conn, SystemScope},
};
use sea_orm::{DbBackend, DbErr};

use crate::support::{World, campaign::DEADLINE, world};

/// A database with one kept connection, and a table to try it on.
async fn kept(w: &World) -> Db {
    w.sql("CREATE TABLE tries (n integer NOT NULL UNIQUE)", []).await;
    w.db().apart("SET lock_timeout = '5s'")
}

async fn begun(db: &Db) -> Arc<WriteTx> {
    Arc::new(tokio::time::timeout(DEADLINE, db.begin()).await.expect("no turn").unwrap())
}

async fn run(tx: &Arc<WriteTx>, sql: &str) -> Result<u64, DbErr> {
    SystemScope::new(Conn::Tx(Arc::clone(tx))).execute(sql, []).await
}

/// How many there are, and their sum.
async fn tries(w: &World) -> Vec<i64> {
    let count = w.number("SELECT count(*) FROM tries", []).await;
    let sum = w.number("SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM tries", []).await;
    vec![count, sum]
}

#[tokio::test]
async fn what_is_committed_stays_and_what_is_not_is_undone() {
    world(|w| async move {
        let db = kept(&w).await;
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (1)").await.unwrap();
        tx.commit_shared().await.unwrap();
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (2)").await.unwrap();
        Arc::into_inner(tx).unwrap().rollback().await.unwrap();
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (4)").await.unwrap();
        drop(tx);
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (8)").await.unwrap();
        tx.commit_shared().await.unwrap();
        assert_eq!(tries(&w).await, [2, 9]);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_waits_for_the_one_before_it() {
    world(|w| async move {
        let db = kept(&w).await;
        let first = begun(&db).await;
        let second = tokio::time::timeout(Duration::from_millis(50), db.begin()).await;
        assert!(second.is_err(), "two at a time");
        first.commit_shared().await.unwrap();
        begun(&db).await.commit_shared().await.unwrap();
    })
    .await;
}

/// The answer is not waited for: it is committed or not, as a whole, and whoever comes next has a connection.
#[tokio::test]
async fn whoever_goes_while_it_commits_leaves_a_turn_for_the_next() {
    world(|w| async move {
        let db = kept(&w).await;
        for n in [1, 2, 4] {
            let tx = begun(&db).await;
            run(&tx, &format!("INSERT INTO tries VALUES ({n}), ({})", 10 * n)).await.unwrap();
            drop(tokio::time::timeout(Duration::ZERO, tx.commit_shared()).await);
        }
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (100), (1000)").await.unwrap();
        tx.commit_shared().await.unwrap();
        let found = tries(&w).await;
        assert!(found[0] % 2 == 0 && found[1] % 11 == 0 && found[1] >= 1100, "{found:?}");
    })
    .await;
}

/// As `UPDATE OR ROLLBACK` does it on SQLite, and any error on PostgreSQL.
#[tokio::test]
async fn a_transaction_that_the_database_ended_is_not_taken_for_a_commit() {
    world(|w| async move {
        let db = kept(&w).await;
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (1), (2)").await.unwrap();
        let or = if db.backend() == DbBackend::Sqlite { "OR ROLLBACK " } else { "" };
        run(&tx, &format!("UPDATE {or}tries SET n = 1 WHERE n = 2")).await.unwrap_err();
        let ended = tx.commit_shared().await;
        assert!(db.backend() == DbBackend::Postgres || ended.is_err(), "SQLite has nothing to commit");
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (4)").await.unwrap();
        tx.commit_shared().await.unwrap();
        assert_eq!(tries(&w).await, [1, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    world(|w| async move {
        let db = kept(&w).await;
        if db.backend() != DbBackend::Postgres {
            return;
        }
        let tx = begun(&db).await;
        let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
        let row = system.query_one("SELECT pg_backend_pid() AS pid", []).await.unwrap().unwrap();
        let pid: i32 = row.try_get("", "pid").unwrap();
        drop(system);
        tx.commit_shared().await.unwrap();
        // It ends a moment after it was told to.
        let gone = "SELECT CASE WHEN pg_terminate_backend($1, 10000) THEN 1 ELSE 0 END";
        assert_eq!(w.number(gone, [pid.into()]).await, 1);
        let tx = begun(&db).await;
        run(&tx, "INSERT INTO tries VALUES (1)").await.unwrap();
        tx.commit_shared().await.unwrap();
        assert_eq!(tries(&w).await, [1, 1]);
    })
    .await;
}
