//! kill -9 between an endpoint's answer and its record: the same id again, and one record.

use rstest::rstest;
use serde_json::json;
use testkit::receiver::Receiver;

use super::{hook, tell, until, verified};
use crate::{
    faults::{engine_process, heir_process, killed_at},
    support::{campaign::*, world},
};

#[rstest]
#[case::before_its_commit("webhook_before_commit", 2)]
#[case::behind_its_commit("webhook_after_commit", 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_around_the_record_of_an_answer_it_is_told_under_one_id_and_recorded_once(
    #[case] point: &'static str,
    #[case] told: usize,
) {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        let (id, secret) = hook(&w.alice, &receiver, "/hook", &["*"]).await;
        let (theirs, _) = hook(&w.bob, &receiver, "/theirs", &["*"]).await;
        tell(&w, &w.alice, 1).await;
        killed_at(engine_process(&w), point, 0).await;
        assert_eq!(receiver.requests("/hook").len(), 1, "it was answered");
        let recorded = "SELECT count(*) FROM webhook_attempts";
        assert_eq!(w.number(recorded, []).await, i64::from(told == 1));

        let _again = heir_process(&w).start().unwrap();
        receiver.wait_for("/hook", told, DEADLINE).await.unwrap();
        let rows = until(&w.alice, &id, |rows| rows[0]["delivered_at"].is_string()).await;
        // What is told after it is told by the one that took its place.
        tell(&w, &w.alice, 1).await;
        tell(&w, &w.bob, 1).await;
        until(&w.alice, &id, |rows| rows.iter().all(|row| row["delivered_at"].is_string())).await;
        until(&w.bob, &theirs, |rows| rows[0]["delivered_at"].is_string()).await;

        let came: Vec<_> = receiver.requests("/hook").iter().map(|it| verified(&secret, it)).collect();
        let of_first = came.iter().filter(|body| body["id"] == rows[0]["id"]);
        assert_eq!((of_first.count(), came.len()), (told, told + 1));
        assert!(came[..told].iter().all(|body| *body == came[0]), "a body changed");
        assert_eq!((&rows[0]["attempt"], &rows[0]["status_code"]), (&json!(1), &json!(204)));
        assert_eq!(w.number(recorded, []).await, 3, "one for each that was told");
        assert_eq!(receiver.requests("/theirs").len(), 1);
    })
    .await;
}
