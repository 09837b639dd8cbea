//! kill -9 while a table is being uploaded or imported, or a long list stored, then a restart: the result is that of an import
//! without a crash.

use std::net::Ipv4Addr;

use rstest::rstest;
use serde_json::{Value, json};
use testkit::{child::free_port, wait::eventually};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    answers::{self, api_process},
    armed, engine_process, heir_process,
};
use crate::{
    requests::{
        csv_imports::{large, started},
        recipients::import,
    },
    support::{World, campaign::DEADLINE, world},
};

const CSV: &str = "text/csv";
const JSON: &str = "application/json";

/// Status, whether it was replayed, and body; always under the same key.
pub async fn post(port: u16, key: &str, path: &str, content: &str, body: String) -> (u16, bool, String) {
    request(port, key, path, content, body).await.unwrap()
}

async fn request(
    port: u16,
    key: &str,
    path: &str,
    content: &str,
    body: String,
) -> reqwest::Result<(u16, bool, String)> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(format!("http://127.0.0.1:{port}{path}")).bearer_auth(key);
    let request = request.header("content-type", content).header("idempotency-key", "k1");
    let answer = request.body(body).send().await?;
    let replayed = answer.headers().contains_key("idempotent-replayed");
    Ok((answer.status().as_u16(), replayed, answer.text().await?))
}

/// Waits until no import is processing any more, and looks that the large one at this path is there once and whole.
async fn ends_whole(w: &World, path: &str) {
    // Three seconds are the wait before the next attempt; it is not waited for here.
    eventually(DEADLINE, || async {
        w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
        let running = "SELECT count(*) FROM contact_imports WHERE status = 'processing'";
        (w.number(running, []).await == 0).then_some(())
    })
    .await
    .unwrap();
    let seen = w.alice.seen(path).await;
    let counts = ["record_count", "contact_count", "skipped", "invalid_count"].map(|it| seen[it].as_i64());
    assert_eq!(counts, [Some(9_000), Some(9_000), Some(9), Some(9)], "{seen}");
    assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 9_000);
}

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
        ends_whole(&w, &path).await;
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_an_upload_nothing_of_it_counts_and_its_key_can_be_used_again() {
    world(|w| async move {
        let (table, port) = (large(), free_port().unwrap());
        let api = api_process(&w, port);
        let mut cut = answers::started(&api, port).await;
        let mut upload = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let head = format!(
            "POST /contact_imports?name=n HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {CSV}\r\nIdempotency-Key: k1\r\nContent-Length: {}\r\n\r\n",
            w.alice.key,
            table.len()
        );
        upload.write_all(head.as_bytes()).await.unwrap();
        // More than the first piece that is kept.
        upload.write_all(&table.as_bytes()[..table.len() * 2 / 3]).await.unwrap();
        let count = async |table| w.number(&format!("SELECT count(*) FROM {table}"), []).await;
        eventually(DEADLINE, || async { (count("import_chunks").await > 0).then_some(()) }).await.unwrap();
        cut.kill_9().await.unwrap();
        for table in ["contact_imports", "contacts", "idempotency_keys", "jobs WHERE name = 'ImportContacts'"]
        {
            assert_eq!(count(table).await, 0, "{table}");
        }
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));

        let _api = answers::started(&api, port).await;
        let upload = || post(port, &w.alice.key, "/contact_imports?name=n", CSV, table.clone());
        let (first, again) = (upload().await, upload().await);
        assert_eq!((first.0, first.1), (202, false), "{}", first.2);
        assert_eq!(again, (202, true, first.2.clone()));
        for table in ["contact_imports", "jobs WHERE name = 'ImportContacts'"] {
            assert_eq!(count(table).await, 1, "{table}");
        }
        // As if the hours had passed after which an upload is given up.
        w.sql("UPDATE import_uploads SET created_at = 0 WHERE contact_import_id IS NULL", []).await;
        let _engine = engine_process(&w).start().unwrap();
        let started: Value = serde_json::from_str(&first.2).unwrap();
        ends_whole(&w, &format!("/contact_imports/{}", started["id"].as_str().unwrap())).await;
        let kept = || async { count("import_uploads").await + count("import_chunks").await };
        eventually(DEADLINE, || async { (kept().await == 0).then_some(()) }).await.unwrap();
        assert!(w.bob.seen("/contact_imports").await.as_array().unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_list_nothing_of_it_is_there_and_nothing_waited_for_it() {
    world(|w| async move {
        let contacts: Vec<Value> =
            (0..6_000).map(|n| json!({"email": format!("person-{n}@example.com")})).collect();
        let list = json!({"contact_import": {"name": "long", "contacts": contacts}}).to_string();
        let port = free_port().unwrap();
        let api = api_process(&w, port);
        let mut held = answers::started(&armed(api.clone(), "import_between_chunks", 1), port).await;
        let (key, body) = (w.alice.key.clone(), list.clone());
        let cut = tokio::spawn(async move { request(port, &key, "/contact_imports", JSON, body).await });
        held.wait_for_file("held", DEADLINE).await.unwrap();
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 5_000);
        // Others write, also the account itself, an address of the list.
        for client in [&w.alice, &w.bob] {
            assert_eq!(import(client, &["person-7@example.com"]).await["record_count"], 1);
            assert_eq!(client.seen("/contact_imports").await.as_array().unwrap().len(), 1);
            assert_eq!(client.seen("/contacts?email=person-8@example.com").await, json!([]));
        }
        held.kill_9().await.unwrap();
        assert!(cut.await.unwrap().is_err(), "it was answered before it was killed");
        // As if the time had passed for which it may stand still.
        w.sql("UPDATE contact_imports SET deleted_at = 1 WHERE deleted_at IS NOT NULL", []).await;

        let _api = answers::started(&api, port).await;
        let upload = || post(port, &w.alice.key, "/contact_imports", JSON, list.clone());
        let (first, again) = (upload().await, upload().await);
        assert_eq!((first.0, first.1), (201, false), "{}", first.2);
        assert_eq!(again, (201, true, first.2.clone()));
        let made: Value = serde_json::from_str(&first.2).unwrap();
        assert_eq!((&made["record_count"], &made["skipped"]), (&json!(5_999), &json!(1)));
        assert_eq!(w.alice.seen("/contact_imports").await.as_array().unwrap().len(), 2);
        assert_eq!(w.bob.seen("/contact_imports").await.as_array().unwrap().len(), 1);
    })
    .await;
}
