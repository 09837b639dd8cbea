//! kill -9 while a table is being imported, then a restart: the result is that of an import without a crash.

use rstest::rstest;
use serde_json::json;
use testkit::wait::eventually;

use super::{engine_process, heir_process};
use crate::{
    requests::csv_imports::{large, started},
    support::{campaign::DEADLINE, world},
};

#[rstest]
#[case::before_the_commit_of_the_first_slice("import_before_commit", "return", 0)]
#[case::before_the_commit_of_a_later_slice("import_before_commit", "1*off->return", 4_000)]
#[case::behind_a_commit("import_after_commit", "1*off->return", 8_000)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_an_import_ends_as_if_it_had_not_been(
    #[case] point: &'static str,
    #[case] when: &'static str,
    #[case] stored: i64,
) {
    world(|w| async move {
        let path = started(&w, &w.alice, large()).await;
        let engine = engine_process(&w);
        let marker = engine.path("held");
        let mut held =
            engine.env("FAILPOINTS", format!("{point}={when}({})", marker.display())).start().unwrap();
        held.wait_for_file("held", DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        assert_eq!(w.alice.seen(&path).await["processed_rows"], json!(stored));
        // As if the lease of the killed holder had run out.
        w.sql("UPDATE jobs SET locked_until = 1", []).await;

        let _again = heir_process(&w).start().unwrap();
        // Three seconds are the wait before the next attempt; it is not waited for here.
        eventually(DEADLINE, || async {
            w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
            let running = "SELECT count(*) FROM contact_imports WHERE status = 'processing'";
            (w.number(running, []).await == 0).then_some(())
        })
        .await
        .unwrap();
        let seen = w.alice.seen(&path).await;
        let counts =
            ["record_count", "contact_count", "skipped", "invalid_count"].map(|it| seen[it].as_i64());
        assert_eq!(counts, [Some(9_000), Some(9_000), Some(9), Some(9)], "{seen}");
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 9_000);
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
    })
    .await;
}
