//! Short transactions that wait for each other on SQLite share a commit; each is undone alone, and told what became of all.

use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use ampout::{
    db::{Db, WriteTx},
    tenancy::{Conn, SystemScope},
};
use futures_util::{FutureExt, future::join_all};
use sea_orm::{DbBackend, DbErr};

use crate::support::{World, campaign::DEADLINE, world};

/// What a part does, and how it ends.
type End<'a> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'a>>;

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("no turn")
}

/// A table to try it on; nothing on PostgreSQL, where nobody waits for a turn.
async fn tried(w: &World) -> Option<Db> {
    let db = w.db();
    if db.backend() != DbBackend::Sqlite {
        return None;
    }
    w.sql("CREATE TABLE tries (n integer NOT NULL UNIQUE)", []).await;
    Some(db.clone())
}

async fn add(tx: &Arc<WriteTx>, n: i32) {
    let system = SystemScope::new(Conn::Tx(Arc::clone(tx)));
    system.execute("INSERT INTO tries VALUES ($1)", [n.into()]).await.unwrap();
}

/// The sum of what others see.
async fn seen(w: &World) -> i64 {
    w.number("SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM tries", []).await
}

/// One whose part (1) is done and whose commit waits, and another that has joined it with a part of its own (2).
async fn two<'a>(w: &World, db: &Db) -> (End<'a>, WriteTx) {
    let first = Arc::new(in_time(db.begin_short()).await.unwrap());
    add(&first, 1).await;
    let mut second = pin!(db.begin_short());
    assert!(second.as_mut().now_or_never().is_none(), "two at a time");
    let mut first: End<'a> = Box::pin(first.commit_shared());
    assert!(first.as_mut().now_or_never().is_none(), "did not wait for who was waiting");
    let second = Arc::new(in_time(second).await.unwrap());
    add(&second, 2).await;
    assert_eq!(seen(w).await, 0, "a commit of its own");
    (first, Arc::into_inner(second).unwrap())
}

#[tokio::test]
async fn parts_of_several_are_durable_together() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        let ended = in_time(async { tokio::join!(first, second.commit()) }).await;
        assert_eq!(ended, (Ok(()), Ok(())));
        assert_eq!(seen(&w).await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_part_is_undone_alone_and_told_so_when_the_others_are_durable() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        let undone = async {
            second.rollback().await.unwrap();
            assert_eq!(seen(&w).await, 1);
        };
        let (first, ()) = in_time(async { tokio::join!(first, undone) }).await;
        assert_eq!(first, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn who_goes_away_in_its_part_undoes_nobody_elses() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        drop(second);
        assert_eq!(in_time(first).await, Ok(()));
        assert_eq!(seen(&w).await, 1);
    })
    .await;
}

/// Its words are said, and not waited for.
#[tokio::test]
async fn who_goes_away_while_it_joins_undoes_nobody_elses() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let first = Arc::new(in_time(db.begin_short()).await.unwrap());
        add(&first, 1).await;
        let mut second = Box::pin(db.begin_short());
        assert!(second.as_mut().now_or_never().is_none(), "two at a time");
        let mut first: End<'_> = Box::pin(first.commit_shared());
        assert!(first.as_mut().now_or_never().is_none(), "did not wait for who was waiting");
        // It waits for an answer now, or has joined already.
        drop(second.as_mut().now_or_never());
        drop(second);
        assert_eq!(in_time(first).await, Ok(()));
        assert_eq!(seen(&w).await, 1);
    })
    .await;
}

#[tokio::test]
async fn who_goes_away_while_it_is_undone_undoes_nobody_elses() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        assert!(second.rollback().now_or_never().is_none(), "told before it is durable");
        assert_eq!(in_time(first).await, Ok(()));
        assert_eq!(seen(&w).await, 1);
    })
    .await;
}

#[tokio::test]
async fn who_goes_away_while_it_is_left_to_the_commit_is_in_it() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        assert!(second.commit().now_or_never().is_none(), "told before it is durable");
        assert_eq!(in_time(first).await, Ok(()));
        assert_eq!(seen(&w).await, 3);
    })
    .await;
}

#[tokio::test]
async fn the_eighth_commits_for_all_whoever_is_in_the_queue() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let mut next = Arc::new(in_time(db.begin_short()).await.unwrap());
        let mut queue: Vec<_> = (2..=9).map(|_| Box::pin(db.begin_short())).collect();
        for waiting in &mut queue {
            assert!(waiting.as_mut().now_or_never().is_none(), "two at a time");
        }
        let ninth = queue.pop().unwrap();
        let mut parts: Vec<End<'_>> = Vec::new();
        for (n, waiting) in (1..).zip(queue) {
            add(&next, n).await;
            let mut part: End<'_> = Box::pin(next.commit_shared());
            if n > 1 {
                // Its part ends with a word.
                tokio::select! {
                    biased;
                    _ = &mut part => panic!("a commit before the eighth"),
                    joined = in_time(waiting) => next = Arc::new(joined.unwrap()),
                }
            } else {
                assert!(part.as_mut().now_or_never().is_none(), "did not wait for who was waiting");
                next = Arc::new(in_time(waiting).await.unwrap());
            }
            parts.push(part);
        }
        add(&next, 8).await;
        assert_eq!(seen(&w).await, 0, "a commit before the eighth");
        in_time(next.commit_shared()).await.unwrap();
        assert_eq!(seen(&w).await, 36);
        for ended in in_time(join_all(parts)).await {
            assert_eq!(ended, Ok(()));
        }
        in_time(ninth).await.unwrap().commit().await.unwrap();
    })
    .await;
}

/// What keeps the twin of a request waiting.
#[tokio::test]
async fn what_is_held_is_held_until_the_commit_also_where_nobody_waits_for_it() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let mut first = in_time(db.begin_short()).await.unwrap();
        let turn = Arc::new("a turn");
        let held = Arc::downgrade(&turn);
        first.hold(turn);
        let first = Arc::new(first);
        add(&first, 1).await;
        let mut second = pin!(db.begin_short());
        assert!(second.as_mut().now_or_never().is_none(), "two at a time");
        let mut first: End<'_> = Box::pin(first.commit_shared());
        assert!(first.as_mut().now_or_never().is_none(), "did not wait for who was waiting");
        drop(first);
        let second = in_time(second).await.unwrap();
        assert!(held.upgrade().is_some(), "free before it is durable");
        drop(second);
        // In the queue behind what they left to be done.
        in_time(db.begin()).await.unwrap().rollback().await.unwrap();
        assert_eq!(seen(&w).await, 1);
        assert!(held.upgrade().is_none(), "still held");
    })
    .await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_committed_all_the_same() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let (first, second) = two(&w, &db).await;
        drop(first);
        drop(second);
        // In the queue behind what the two left to be done.
        in_time(db.begin()).await.unwrap().rollback().await.unwrap();
        assert_eq!(seen(&w).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_shares_with_nobody_begins_when_the_parts_before_it_are_durable() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let first = Arc::new(in_time(db.begin_short()).await.unwrap());
        add(&first, 1).await;
        let mut alone = pin!(db.begin());
        assert!(alone.as_mut().now_or_never().is_none(), "two at a time");
        let mut first = pin!(first.commit_shared());
        assert!(first.as_mut().now_or_never().is_none(), "did not wait for who was waiting");
        let alone = Arc::new(in_time(alone).await.unwrap());
        assert_eq!(seen(&w).await, 1);
        assert_eq!(in_time(first).await, Ok(()));
        add(&alone, 2).await;
        let mut short = pin!(db.begin_short());
        assert!(short.as_mut().now_or_never().is_none(), "two at a time");
        alone.commit_shared().await.unwrap();
        assert_eq!(seen(&w).await, 3);
        in_time(short).await.unwrap().commit().await.unwrap();
    })
    .await;
}

/// As SQLite does it where the disk is full.
#[tokio::test]
async fn where_the_database_ends_the_transaction_all_who_share_it_hear_so() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        for commits in [true, false] {
            let (first, second) = two(&w, &db).await;
            let second = Arc::new(second);
            let system = SystemScope::new(Conn::Tx(Arc::clone(&second)));
            system.execute("ROLLBACK", []).await.unwrap();
            drop(system);
            let second = Arc::into_inner(second).unwrap();
            let ended = if commits { second.commit().await } else { second.rollback().await };
            // What a client may try again: `service_unavailable`.
            for ended in [ended, in_time(first).await] {
                assert!(matches!(ended, Err(DbErr::ConnectionAcquire(_))), "{ended:?}");
            }
            assert_eq!(seen(&w).await, 0);
        }
        let next = Arc::new(in_time(db.begin_short()).await.unwrap());
        add(&next, 4).await;
        next.commit_shared().await.unwrap();
        assert_eq!(seen(&w).await, 4);
    })
    .await;
}

#[tokio::test]
async fn many_at_once_lose_nothing_and_undo_what_they_are_to() {
    world(|w| async move {
        let Some(db) = tried(&w).await else { return };
        let works = (0..60).map(|n| {
            let db = &db;
            async move {
                let tx = if n % 7 == 0 { db.begin().await } else { db.begin_short().await };
                let tx = Arc::new(tx.unwrap());
                add(&tx, n).await;
                match n % 3 {
                    0 => tx.commit_shared().await.unwrap(),
                    1 => Arc::into_inner(tx).unwrap().rollback().await.unwrap(),
                    _ => drop(tx),
                }
            }
        });
        in_time(join_all(works)).await;
        assert_eq!(seen(&w).await, (0..60).filter(|n| n % 3 == 0).sum::<i64>());
    })
    .await;
}
