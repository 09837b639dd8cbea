//! The pause between two messages of a mailbox outlives the process that was to keep it.

use ampout::clock::Timestamp;
use rstest::rstest;
use serde_json::json;
use testkit::{sink::Sink, wait::eventually};

use super::{engine_process, heir_process, killed_at};
use crate::support::{campaign::*, world};

const PAUSE_SECONDS: i64 = 600;

#[rstest]
#[case::marked_before_data("after_mark", 0, 0)]
#[case::accepted_and_not_recorded("before_commit", 2, 1)]
#[case::recorded_before_the_lane_was_left("after_commit", 2, 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_the_lane_of_the_killed_keeps_its_pause(
    #[case] point: &'static str,
    #[case] passes: usize,
    #[case] arrived: u64,
) {
    world(|w| async move {
        let (sink, theirs) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        let mut slow = campaign(&[credential(&sink, "one@sender.test")], 1);
        slow["campaign"]["min_wait_seconds"] = json!(PAUSE_SECONDS);
        slow["campaign"]["max_wait_seconds"] = json!(PAUSE_SECONDS);
        dispatched(&w.alice, &slow, &addresses("ok", 3)).await;
        let begun = Timestamp::now().micros();

        killed_at(engine_process(&w), point, passes).await;

        let _again = heir_process(&w).start().unwrap();
        let given_back = "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL";
        eventually(DEADLINE, || async { (w.number(given_back, []).await == 0).then_some(()) }).await.unwrap();
        // It takes lanes again, and goes through those that are awake.
        let quick = campaign(&[credential(&theirs, "two@sender.test")], 1);
        let id = dispatched(&w.bob, &quick, &addresses("ok", 3)).await;
        until_status(&w.bob, &id, "completed").await;
        assert_eq!(sink.count(), arrived, "the next may go in ten minutes");
        let next = "SELECT max(next_send_at) FROM smtp_credentials";
        assert!(w.number(next, []).await >= begun + PAUSE_SECONDS * 1_000_000);
    })
    .await;
}
