//! kill -9 while a large import is being enrolled in the background, then a restart: everybody is enrolled once.

use rstest::rstest;
use serde_json::json;
use testkit::wait::eventually;

use super::{engine_process, heir_process, killed_at};
use crate::support::{campaign::DEADLINE, id_of, world};

const PEOPLE: usize = 10_001;

#[rstest]
#[case::before_the_commit_of_the_first_slice("enroll_before_commit", 0, 0)]
#[case::between_two_slices("enroll_after_commit", 0, 5_000)]
#[case::before_the_commit_of_a_later_slice("enroll_before_commit", 2, 10_000)]
#[case::behind_the_last_commit("enroll_after_commit", 2, 10_001)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_a_large_import_is_enrolled_once(
    #[case] point: &'static str,
    #[case] passes: usize,
    #[case] stored: i64,
) {
    world(|w| async move {
        let campaign = w.alice.campaign(&json!({})).await;
        let import = w.import(&w.alice, PEOPLE, "x.example").await;
        let body = json!({ "contact_import_id": import, "batch_size": 3_000 });
        let started = w.alice.made(&format!("/campaigns/{campaign}/enroll"), &body).await;
        killed_at(engine_process(&w), point, passes).await;
        assert_eq!(w.number("SELECT count(*) FROM enrollments", []).await, stored);
        // As if the lease of the killed holder had run out.
        w.sql("UPDATE jobs SET locked_until = 1", []).await;

        let _again = heir_process(&w).start().unwrap();
        let path = format!("/campaigns/{campaign}/enroll_jobs/{}", id_of(&started));
        eventually(DEADLINE, || async {
            // The wait before the next attempt is not waited for.
            w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
            let left =
                w.number("SELECT count(*) FROM jobs WHERE status IN ('queued', 'processing')", []).await;
            (left == 0).then_some(())
        })
        .await
        .unwrap();
        let seen = w.alice.seen(&path).await;
        let told = ["status", "processed", "enrolled", "batches"].map(|field| seen[field].clone());
        assert_eq!(told, [json!("completed"), json!(PEOPLE), json!(PEOPLE), json!(4)], "{seen}");
        let people = "SELECT count(DISTINCT contact_id) FROM enrollments";
        assert_eq!(usize::try_from(w.number(people, []).await).unwrap(), PEOPLE);
        assert_eq!(usize::try_from(w.number("SELECT count(*) FROM enrollments", []).await).unwrap(), PEOPLE);
        let full = "SELECT count(*) FROM batches WHERE undispatched = 3000 AND pending = 3000";
        assert_eq!(w.number(full, []).await, 3);
        let pending = "SELECT CAST(sum(pending) AS bigint) FROM campaign_totals";
        assert_eq!(usize::try_from(w.number(pending, []).await).unwrap(), PEOPLE);
    })
    .await;
}
