//! Who may change what: a lane is held by one process that is alive, and a late result changes nothing. And how long
//! deliveries are kept.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ampout::{
    clock::Timestamp,
    engine::Process,
    models::webhook_deliveries,
    tenancy::{Conn, SystemScope},
    webhooks::{
        attempt::Attempted,
        lanes,
        recorder::{Ended, Lease, Recorder},
    },
};
use testkit::receiver::Receiver;

use super::{hook, tell};
use crate::support::{World, world};

async fn process(w: &World, name: &str) -> Process {
    Process::register(&w.db(), name, Duration::from_secs(30)).await.unwrap()
}

fn taken() -> Attempted {
    Attempted {
        status_code: Some(200),
        error: None,
        retry_after: None,
        duration: Duration::from_millis(7),
        began: Timestamp::now(),
    }
}

async fn rows(w: &World, what: &str) -> i64 {
    w.number(&format!("SELECT count(*) FROM {what}"), []).await
}

#[tokio::test]
async fn what_a_dead_process_held_is_anothers_and_its_late_result_changes_nothing() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        hook(&w.alice, &receiver, "/hook", &["*"]).await;
        hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        let (db, now) = (w.db(), Timestamp::now());
        let (first, second) = (process(&w, "first").await, process(&w, "second").await);
        let free = lanes::free(&db, now).await.unwrap();
        assert_eq!(free.len(), 1, "an endpoint without work is no lane");
        let wanted = [free[0].webhook_id];
        let lane = lanes::take(&db, first.id, &wanted).await.unwrap()[0];
        assert!(lanes::free(&db, now).await.unwrap().is_empty());
        assert!(lanes::take(&db, second.id, &wanted).await.unwrap().is_empty());
        w.sql("UPDATE engine_processes SET dead_at = 1 WHERE id = $1", [first.id.into()]).await;
        assert_eq!(lanes::take(&db, second.id, &wanted).await.unwrap(), [lane]);
        let none = BTreeSet::new();
        assert!(lanes::due(&db, first.id, &lane, &none, 5, now).await.unwrap().is_none());
        let due = lanes::due(&db, second.id, &lane, &none, 5, now).await.unwrap().unwrap();
        let ended = Ended {
            account_id: lane.account_id,
            webhook_id: lane.webhook_id,
            delivery_id: due[0].id,
            url: receiver.url("/hook"),
            tries: 0,
            attempts: 0,
            attempted: taken(),
            chance: 0.5,
        };
        let pending = "webhook_deliveries WHERE state = 'pending' AND attempts = 0";
        let (late, writer) = Recorder::new(db.clone(), first.id);
        let writing = tokio::spawn(writer.run());
        let told = late.record(lane.webhook_id, vec![ended.clone()], Lease::Leave).await.unwrap();
        assert!(told.disabled_at.is_some(), "who lost the lane is told to stop");
        assert_eq!((rows(&w, pending).await, rows(&w, "webhook_attempts").await), (1, 0));
        drop(late);
        writing.await.unwrap();
        let (recorder, writer) = Recorder::new(db.clone(), second.id);
        let writing = tokio::spawn(writer.run());
        // The second time is that of a commit whose answer was lost.
        for _ in 0..2 {
            recorder.record(lane.webhook_id, vec![ended.clone()], Lease::Keep).await.unwrap();
            let delivered = "webhook_deliveries WHERE state = 'delivered' AND attempts = 1";
            assert_eq!((rows(&w, delivered).await, rows(&w, "webhook_attempts").await), (1, 1));
        }
        recorder.record(lane.webhook_id, vec![], Lease::Leave).await.unwrap();
        assert_eq!(rows(&w, "webhooks WHERE holder IS NOT NULL").await, 0);
        drop(recorder);
        writing.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_kept_for_thirty_days() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, _) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        tell(&w, &w.alice, 3).await;
        w.alice.made(&format!("/webhooks/{id}/test"), &serde_json::json!({})).await;
        let purge = async |days: u64, batch| {
            let tx = Arc::new(w.db().begin().await.unwrap());
            let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
            let now = Timestamp::now().plus(Duration::from_secs(days * 86_400));
            let purged = webhook_deliveries::purge(&system, now, batch).await.unwrap();
            drop(system);
            tx.commit_shared().await.unwrap();
            purged
        };
        assert_eq!(purge(29, 10).await, 0);
        assert_eq!(purge(31, 3).await, 3);
        assert_eq!(purge(31, 3).await, 1);
        assert_eq!((rows(&w, "webhook_deliveries").await, rows(&w, "webhook_attempts").await), (0, 0));
        assert_eq!(rows(&w, "webhooks").await, 1);
    })
    .await;
}
