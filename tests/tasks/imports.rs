//! `contacts_import`: a file, read by the way of the API, with or without an engine.

use std::fs;

use serde_json::json;

use super::{end_of, killed_at, prepared, run};
use crate::{
    requests::csv_imports::{large, run_jobs},
    support::world,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_imported_whole_without_an_engine_and_once_with_one() {
    world(|w| async move {
        let task =
            prepared(&w, &["contacts_import", "account:alice@example.com", "file:people.csv", "format:json"]);
        fs::write(task.path("people.csv"), large()).unwrap();
        let done = end_of(&task).await.json();
        assert_eq!((&done["name"], &done["status"]), (&json!("people"), &json!("completed")));
        let counts =
            ["record_count", "contact_count", "skipped", "invalid_count"].map(|it| done[it].as_i64());
        assert_eq!(counts, [Some(9_000), Some(9_000), Some(9), Some(9)], "{done}");
        assert_eq!(done["invalid"].as_array().unwrap().len(), 9);
        assert_eq!(w.alice.seen(&format!("/contact_imports/{}", done["id"].as_str().unwrap())).await, done);
        // The job that was stored with it finds nothing to do.
        run_jobs(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 9_000);
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
        assert_eq!(
            w.number("SELECT count(*) FROM jobs WHERE status = 'completed' AND name = 'ImportContacts'", [])
                .await,
            1
        );
        assert_eq!(w.bob.seen("/contact_imports").await, json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_any_engine_ends_the_import() {
    world(|w| async move {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("people.csv"), large()).unwrap();
        let file = format!("file:{}", place.path().join("people.csv").display());
        let words = ["contacts_import", "account:alice@example.com", &file, "name:From a file"];
        killed_at(&w, &words, "import_after_commit", 1).await;
        let imports = w.alice.seen("/contact_imports").await;
        assert_eq!(
            (&imports[0]["name"], &imports[0]["status"]),
            (&json!("From a file"), &json!("processing"))
        );
        run_jobs(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 9_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_file_is_said() {
    world(|w| async move {
        let account = "account:alice@example.com";
        let missing = run(&w, &["contacts_import", account, "file:nowhere.csv"]).await;
        assert!(
            missing.refusal().contains("`file:nowhere.csv` is wrong, expected a CSV file"),
            "{}",
            missing.err
        );
        for (text, said) in [
            ("name\nAda\n", "error: validation_failed: Email must be one of the columns"),
            ("email\n", "error: no_contacts_provided"),
        ] {
            let task = prepared(&w, &["contacts_import", account, "file:it.csv"]);
            fs::write(task.path("it.csv"), text).unwrap();
            let ran = end_of(&task).await;
            assert!(ran.refusal().starts_with(said), "{}", ran.err);
        }
        // Every row is unusable: the import is kept and says so, and the task fails.
        let task = prepared(&w, &["contacts_import", account, "file:it.csv", "format:json"]);
        fs::write(task.path("it.csv"), "email\nnobody\n").unwrap();
        let ran = end_of(&task).await;
        assert!(ran.refusal().contains("the import failed") && ran.out.contains("\"failed\""), "{}", ran.out);
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 0);
    })
    .await;
}
