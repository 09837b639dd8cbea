//! `account_export`: everything of one account and nothing of another, no secret, and whole or not there.

use std::{collections::BTreeMap, fs, path::Path};

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::Value as Json;

use super::{end_of, killed_at, prepared, rows_of_both, run, tables_of_accounts};
use crate::{
    faults::held_at,
    support::{World, world},
};

/// Tables that are not exported: answers kept for a day, and texts that were not read yet.
const LEFT_OUT: [&str; 3] = ["idempotency_keys", "import_chunks", "import_uploads"];

fn read(folder: &Path) -> BTreeMap<String, Vec<Json>> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), rows)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_is_there_with_the_rows_of_one_account_and_no_secret() {
    world(|w| async move {
        let [mine, _] = rows_of_both(&w).await;
        for (id, client) in [("evt_a", &w.alice), ("evt_b", &w.bob)] {
            let account: uuid::Uuid = client.account_id.parse().unwrap();
            let sql = "INSERT INTO stripe_events (id, account_id, kind, payload, received_at) VALUES ($1, $2, '', '{}', 0)";
            w.sql(sql, [id.into(), account.into()]).await;
        }
        let task = prepared(&w, &["account_export", "account:alice@example.com", "to:out", "format:json"]);
        let said = end_of(&task).await.json();
        let folder = task.path("out");
        let tables = read(&folder);

        let mut expected = tables_of_accounts(&w).await;
        expected.retain(|table| !LEFT_OUT.contains(&table.as_str()));
        expected.push("accounts".to_owned());
        expected.sort();
        assert_eq!(tables.keys().cloned().collect::<Vec<_>>(), expected);
        for (table, rows) in &tables {
            assert!(!rows.is_empty(), "{table}");
            let owner = if table == "accounts" { "id" } else { "account_id" };
            assert!(rows.iter().all(|row| row[owner] == w.alice.account_id.as_str()), "{table}: {rows:?}");
        }
        let contact =
            tables["contacts"].iter().find(|row| row["id"] == mine.contacts[0].id.to_string()).unwrap();
        assert_eq!((&contact["first_name"], &contact["custom"]["city"]), (&"Zoë".into(), &"Łódź".into()));
        assert_eq!(contact["created_at"], mine.contacts[0].created_at.to_string());

        // Sealed or hashed: none of it may leave, under any name.
        let secrets = ["smtp_password", "imap_password", "secret", "digest", "token", "body"];
        for row in tables.values().flatten() {
            assert!(!secrets.iter().any(|name| row.get(name).is_some()), "{row}");
        }
        assert_eq!(tables["suppressions"][0]["email_hash"].as_str().unwrap().len(), 64);

        let files = said["files"].as_array().unwrap();
        assert_eq!(files.len(), tables.len());
        for file in files {
            let name = file["file"].as_str().unwrap().strip_suffix(".jsonl").unwrap();
            assert_eq!(file["rows"], tables[name].len());
        }
        let manifest: Json = serde_json::from_slice(&fs::read(folder.join("export.json")).unwrap()).unwrap();
        assert_eq!(manifest, said);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&folder), mode(&folder.join("contacts.jsonl"))), (0o700, 0o600));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_rows_than_a_page_come_each_once() {
    world(|w| async move {
        w.import(&w.alice, 2_345, "x.example").await;
        w.import(&w.bob, 7, "x.example").await;
        let task = prepared(&w, &["account_export", "account:alice@example.com", "to:out"]);
        assert!(end_of(&task).await.well);
        let contacts = &read(&task.path("out"))["contacts"];
        let mut ids: Vec<&str> = contacts.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted());
        ids.dedup();
        assert_eq!(ids.len(), 2_345);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_half_way_it_leaves_nothing_that_looks_whole() {
    world(|w| async move {
        rows_of_both(&w).await;
        let place = tempfile::tempdir().unwrap();
        let to = format!("to:{}", place.path().join("out").display());
        let words = ["account_export", "account:alice@example.com", &to];
        killed_at(&w, &words, "task_after_batch", 5).await;
        let left: Vec<String> = fs::read_dir(place.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(left.len() == 1 && left[0].starts_with("out.partial-"), "{left:?}");
        assert!(run(&w, &words).await.well);
        assert!(place.path().join("out/export.json").exists());
        let again = run(&w, &words).await;
        assert!(again.refusal().contains("expected a folder that is not there yet"), "{}", again.err);
    })
    .await;
}

/// Whether somebody has a transaction open in which nothing is asked.
async fn a_transaction_waits(w: &World) -> bool {
    if w.ctx.db.get_database_backend() == DbBackend::Postgres {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND state LIKE 'idle in transaction%'";
        return w.number(sql, []).await > 0;
    }
    // The log of what was written since cannot be emptied while somebody reads what was before.
    w.sql("UPDATE accounts SET name = 'Anew'", []).await;
    let checkpoint = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
    let row = w.ctx.db.query_one_raw(checkpoint).await.unwrap().unwrap();
    row.try_get::<i64>("", "busy").unwrap() != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_is_open_while_the_files_go_to_the_disk() {
    world(|w| async move {
        rows_of_both(&w).await;
        for (point, waits) in [("task_after_batch", true), ("export_before_sync", false)] {
            let task = prepared(&w, &["account_export", "account:alice@example.com", "to:out"]);
            let mut held = held_at(task, point, 0).await;
            assert_eq!(a_transaction_waits(&w).await, waits, "at {point}");
            held.kill_9().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_on_the_way_takes_away_what_was_written_and_nothing_else() {
    world(|w| async move {
        rows_of_both(&w).await;
        let place = tempfile::tempdir().unwrap();
        let mine = place.path().join("out.partial-mine");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("kept.jsonl"), "kept").unwrap();
        // The last of the tables is gone: all others are written before it is missed.
        w.sql("DROP TABLE webhook_attempts", []).await;
        let to = format!("to:{}", place.path().join("out").display());
        let ran = run(&w, &["account_export", "account:alice@example.com", &to]).await;
        assert!(!ran.well && ran.err.contains("webhook_attempts"), "{}", ran.err);
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&mine));
        assert_eq!(fs::read_to_string(mine.join("kept.jsonl")).unwrap(), "kept");
    })
    .await;
}
