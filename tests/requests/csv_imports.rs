//! Contact imports in CSV: what the header and the rows may be, and what becomes of them.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use ampout::{
    clock::Timestamp,
    engine::Doorbell,
    errors::Code,
    imports::{Pace, Reader},
    jobs::DbQueue,
    models::{
        import_progress::{self, Progress, Slice},
        import_uploads, suppressions,
    },
    tenancy::{Conn, SystemScope},
    workers::{ImportContacts, import_contacts},
};
use axum::http::StatusCode;
use axum_test::TestResponse;
use serde_json::{Value, json};
use testkit::wait::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::recipients::{count, import, scope};
use crate::{
    models::removal::remove_all,
    support::{Client, World, campaign::DEADLINE, id_of, world},
};

/// Uploads a table under the name `n`.
pub async fn upload(w: &World, client: &Client, text: impl Into<Vec<u8>>) -> TestResponse {
    let request = w.server.post("/contact_imports?name=n").authorization_bearer(&client.key);
    request.bytes(text.into().into()).content_type("text/csv").await
}

/// Uploads a table that must be accepted; answers its import's path.
pub async fn started(w: &World, client: &Client, text: impl Into<Vec<u8>>) -> String {
    let answer = upload(w, client, text).await;
    assert_eq!(answer.status_code(), StatusCode::ACCEPTED, "{}", answer.text());
    let body: Value = answer.json();
    assert_eq!(body, json!({"id": body["id"], "name": "n", "status": "processing"}));
    format!("/contact_imports/{}", body["id"].as_str().unwrap())
}

/// Runs the jobs of this world until no import is processing.
pub async fn run_jobs(w: &World) {
    let queue = Arc::new(DbQueue::new(w.db(), Doorbell::default(), Duration::from_millis(20)));
    let provider = loco_rs::bgworker::Queue::from_provider(Arc::clone(&queue) as Arc<_>);
    ampout::workers::register(&w.ctx, &provider).await.unwrap();
    let stop = CancellationToken::new();
    let stopping = async {
        let running = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'processing')";
        eventually(DEADLINE, || async { (w.number(running, []).await == 0).then_some(()) }).await.unwrap();
        stop.cancel();
    };
    tokio::join!(stopping, queue.run_until(w.db(), stop.clone()));
}

/// Imports a table to its end; answers its page.
async fn imported(w: &World, client: &Client, text: impl Into<Vec<u8>>) -> Value {
    let path = started(w, client, text).await;
    run_jobs(w).await;
    client.seen(&path).await
}

/// A table of more than one piece of text and of several slices, with rows of every kind. 9,000 contacts.
pub fn large() -> String {
    let mut text = "email,First Name,notes\r\n".to_owned();
    for row in 0..9_000 {
        write!(
            text,
            "c{row}@x.example,\"Jo \"\"{row}\"\"\",\"line one\r\nline two, {}\"\r\n",
            "x".repeat(70)
        )
        .unwrap();
        if row % 1_000 == 0 {
            text.push_str("nobody,x,y\r\nC0@X.example,again,\r\n\r\n");
        }
    }
    text
}

#[tokio::test]
async fn a_header_that_cannot_be_used_is_refused_before_anything_is_stored() {
    let own: Vec<String> = (0..51).map(|number| format!("c{number}")).collect();
    let cases: [(Vec<u8>, &str); 11] = [
        (b"".to_vec(), "Email must be one of the columns"),
        (b"\n\n".to_vec(), "Email must be one of the columns"),
        (b"jo@example.com,Jo\n".to_vec(), "Email must be one of the columns"),
        (b"name,company\njo,x\n".to_vec(), "Email must be one of the columns"),
        (b"email;name\njo@example.com;Jo\n".to_vec(), "Email must be one of the columns"),
        (b"email,First Name,first_name\n".to_vec(), "Header has the column `first_name` twice"),
        (b"email,Email\n".to_vec(), "Header has the column `Email` twice"),
        (b"email,,x\n".to_vec(), "Header has a column without a name"),
        (b"\xff\xfee\0m\0a\0i\0l\0\n".to_vec(), "Header must be in UTF-8"),
        (format!("email,{}\nx\n", own.join(",")).into_bytes(), "Header has more than 50 columns of its own"),
        (vec![b'x'; 600 << 10], "Header is too long"),
    ];
    world(|w| async move {
        for (text, message) in cases {
            let answer = upload(&w, &w.alice, text).await;
            let refused: Value = answer.json();
            assert_eq!(answer.status_code(), StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
            assert_eq!(
                (&refused["code"], &refused["message"]),
                (&json!("validation_failed"), &json!(message))
            );
        }
        let unnamed = w.server.post("/contact_imports").authorization_bearer(&w.alice.key);
        let refused: Value = unnamed.bytes("name\n".into()).content_type("text/csv").await.json();
        assert_eq!(refused["message"], "Name can't be blank, Email must be one of the columns");
        for (text, code) in [("email\n", "no_contacts_provided"), ("email", "no_contacts_provided")] {
            assert_eq!(upload(&w, &w.alice, text).await.json::<Value>()["code"], code);
        }
        assert_eq!(count(&w, &w.alice, "import_uploads WHERE account_id = $1").await, 0);
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn another_type_charset_parameter_or_too_many_rows_are_refused_as_such() {
    world(|w| async move {
        let post = |path: &str| w.server.post(path).authorization_bearer(&w.alice.key);
        for content_type in ["text/csv; charset=latin1", "text/plain", "text/csvx"] {
            let answer =
                post("/contact_imports").bytes("email\na@b.co\n".into()).content_type(content_type).await;
            answer.assert_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let typo =
            post("/contact_imports?nmae=n").bytes("email\na@b.co\n".into()).content_type("text/csv").await;
        typo.assert_status_bad_request();
        assert!(typo.text().contains("nmae"), "{}", typo.text());
        let many = format!("email\n{}", "x\n".repeat(1_000_001));
        let refused = upload(&w, &w.alice, many).await;
        refused.assert_status(StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));
        remove_all(&w).await;
        assert_eq!(
            w.number("SELECT count(*) FROM import_chunks", []).await,
            0,
            "a refused upload is removed"
        );
    })
    .await;
}

#[tokio::test]
async fn rows_are_read_as_spreadsheets_write_them() {
    let text = "\u{feff}Email,First Name,lastName,COMPANY,Favourite Colour,Seats\r\n\
                ann@example.com,Ann,\"O\"\"Neil, Jr.\",\"Two\r\nlines\", dark blue ,3\r\n\
                \r\n\
                bob@example.com,,,,,";
    world(|w| async move {
        let seen = imported(&w, &w.alice, text).await;
        assert_eq!((&seen["status"], &seen["record_count"]), (&json!("completed"), &json!(2)), "{seen}");
        assert_eq!(
            (&seen["skipped"], &seen["invalid_count"], &seen["invalid"]),
            (&json!(0), &json!(0), &json!([]))
        );
        let found = w.alice.seen("/contacts?email=ann@example.com").await;
        let shown = |field: &str| found[0][field].as_str().unwrap().to_owned();
        assert_eq!(
            [shown("first_name"), shown("last_name"), shown("company")],
            ["Ann", "O\"Neil, Jr.", "Two\r\nlines"]
        );
        assert_eq!(found[0]["custom"], json!({"favourite_colour": "dark blue", "seats": "3"}));
        let empty = w.alice.seen("/contacts?email=bob@example.com").await;
        assert_eq!((&empty[0]["first_name"], &empty[0]["company"]), (&Value::Null, &Value::Null));
        assert_eq!(count(&w, &w.bob, "contacts WHERE account_id = $1").await, 0);
    })
    .await;
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_reported_and_the_rest_is_imported() {
    let mut text = b"email,first_name,x\n".to_vec();
    text.extend(b"ok@example.com,Jo,1\nshort@example.com,Jo\nlong@example.com,Jo,1,2\n");
    text.extend(
        b"nobody,Jo,1\n,Jo,1\nbytes@example.com,J\xf6,1\nJO@example.com,J,1\nOK@example.com,again,1\n",
    );
    text.extend(format!("big@example.com,{},1\n", "b".repeat(256)).bytes());
    text.extend(format!("huge@example.com,{},1\n", "h".repeat(1 << 20)).bytes());
    text.extend(b"open@example.com,\"Jo,1\nlast@example.com,Jo,1\n");
    world(|w| async move {
        import(&w.alice, &["jo@example.com"]).await;
        import(&w.bob, &["ok@example.com", "jo@example.com"]).await;
        let seen = imported(&w, &w.alice, text).await;
        assert_eq!((&seen["status"], &seen["record_count"], &seen["skipped"]), (&json!("completed"), &json!(1), &json!(2)));
        let expected = json!([
            {"index": 1, "email": "short@example.com", "message": "Row has 2 columns instead of 3"},
            {"index": 2, "email": "long@example.com", "message": "Row has 4 columns instead of 3"},
            {"index": 3, "email": "nobody", "message": "Email is invalid"},
            {"index": 4, "email": null, "message": "Email can't be blank"},
            {"index": 5, "email": "bytes@example.com", "message": "Row is not in UTF-8"},
            {"index": 8, "email": "big@example.com", "message": "First name is too long (maximum is 255 characters)"},
            {"index": 9, "email": null, "message": "Row is too large"},
            {"index": 10, "email": "open@example.com", "message": "Row has 2 columns instead of 3"},
        ]);
        assert_eq!((&seen["invalid"], &seen["invalid_count"]), (&expected, &json!(8)));
        let none = imported(&w, &w.alice, "email\nnobody\n").await;
        assert_eq!((&none["status"], &none["error"]), (&json!("failed"), &json!("No row could be imported")));
    })
    .await;
}

/// A table whose third row has a quote that is not closed, and more than 4 MiB behind it.
fn unbalanced() -> String {
    let rest = "more@example.com,Jo\n".repeat((4 << 20) / 20 + 1);
    format!("email,first_name\na@example.com,Jo\nb@example.com,Jo\nc@example.com,\"Jo\n{rest}")
}

#[tokio::test]
async fn a_quote_that_is_not_closed_is_refused_by_its_row_instead_of_swallowing_the_rest() {
    world(|w| async move {
        let keyed = async |text: String| {
            let request = w.server.post("/contact_imports?name=n").authorization_bearer(&w.alice.key);
            let request = request.add_header("idempotency-key", "once");
            request.bytes(text.into()).content_type("text/csv").await
        };
        let refused = keyed(unbalanced()).await;
        assert_eq!(refused.status_code(), StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text());
        let body: Value = refused.json();
        assert_eq!(
            (&body["code"], &body["message"]),
            (
                &json!("validation_failed"),
                &json!(
                    "Table goes on for 4 MiB without the end of a row: is a quote not closed in row 2 \
                     (counted from 0, without the header)?"
                )
            )
        );
        assert_eq!(body["details"]["errors"][0]["field"], "table");
        let again = keyed(unbalanced()).await;
        assert_eq!(
            (again.text(), again.header("idempotent-replayed")),
            (refused.text(), "true".parse().unwrap())
        );
        let none = upload(&w, &w.bob, format!("email\na@example.com\n{}", "\n".repeat(5 << 20))).await;
        assert_eq!(none.json::<Value>()["code"], "validation_failed", "{}", none.text());
        for client in [&w.alice, &w.bob] {
            assert_eq!(client.seen("/contact_imports").await, json!([]));
        }
        remove_all(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
        // What ends in time is still one row that is left out, and the rest is imported.
        let long = format!("email,x\na@example.com,\"{}\"\nb@example.com,1\n", "x\n".repeat((2 << 20) - 100));
        let seen = imported(&w, &w.alice, long).await;
        assert_eq!(
            (&seen["record_count"], &seen["invalid"][0]["message"]),
            (&json!(1), &json!("Row is too large"))
        );
    })
    .await;
}

#[tokio::test]
async fn where_a_row_without_an_end_is_refused_does_not_depend_on_how_the_text_came() {
    world(|w| async move {
        let (db, account) = (w.db(), w.alice.account_id.parse().unwrap());
        let mut heads = vec![];
        for size in [1 << 10, 7_919, 1 << 20] {
            let text = unbalanced();
            let pieces = text.as_bytes().chunks(size).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece)));
            let pieces: Vec<ampout::errors::ApiResult<bytes::Bytes>> = pieces.collect();
            let refused = ampout::imports::receive(&db, account, "n", futures_util::stream::iter(pieces))
                .await
                .unwrap_err();
            assert_eq!(refused.error.code, Code::ValidationFailed);
            heads.push(refused.head);
        }
        assert!(!heads[0].is_empty() && heads.iter().all(|head| *head == heads[0]));
    })
    .await;
}

#[tokio::test]
async fn a_table_of_many_pieces_is_imported_whole_and_nothing_of_it_is_kept() {
    world(|w| async move {
        let text = large();
        assert!(text.len() > 1 << 20);
        let (alice, bob) = (started(&w, &w.alice, text.clone()).await, started(&w, &w.bob, text).await);
        run_jobs(&w).await;
        for (client, path) in [(&w.alice, alice), (&w.bob, bob)] {
            let seen = client.seen(&path).await;
            let counts =
                ["record_count", "contact_count", "skipped", "invalid_count"].map(|it| seen[it].as_i64());
            assert_eq!(counts, [Some(9_000), Some(9_000), Some(9), Some(9)], "{seen}");
            assert_eq!(count(&w, client, "contacts WHERE account_id = $1").await, 9_000);
            let last = client.seen("/contacts?email=c8999@x.example").await;
            assert_eq!(last[0]["first_name"], "Jo \"8999\"");
        }
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
        assert_eq!(w.number("SELECT count(*) FROM import_uploads", []).await, 0);
    })
    .await;
}

/// The only upload, and the slices of it that are still to be read.
async fn slices(w: &World, owner: &Client) -> (Uuid, Vec<Slice>) {
    let scope = scope(w, owner);
    let id = w.ids("SELECT id FROM import_uploads", []).await[0];
    let row = scope.get::<import_uploads::Entity>(id).await.unwrap();
    let (mut reader, pace, mut slices) = (Reader::new(&row, 0), Pace::default(), Vec::new());
    while let Some(slice) = reader.next(&scope, &pace).await.unwrap() {
        slices.push(slice);
    }
    (id, slices)
}

/// Stores a slice as the worker does: what was overtaken is undone.
async fn store(w: &World, owner: &Client, upload_id: Uuid, slice: &Slice) -> Result<Progress, Code> {
    let state = w.state();
    let tx = Arc::new(state.db.begin().await.unwrap());
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(owner.account_id.parse().unwrap());
    let (key, now) = (&state.suppression_key, Timestamp::now());
    let stored = import_progress::store_contacts(&scope, key, upload_id, slice.clone(), now).await;
    let progress = import_progress::note_slice(&scope, stored.map_err(|error| error.code)?).await;
    let progress = progress.map_err(|error| error.code)?;
    drop(scope);
    if progress != Progress::Overtaken {
        tx.commit_shared().await.unwrap();
    }
    Ok(progress)
}

#[tokio::test]
async fn a_slice_is_stored_once_and_only_behind_the_one_before_it() {
    world(|w| async move {
        started(&w, &w.alice, large()).await;
        let (id, slices) = slices(&w, &w.alice).await;
        let after = async |nth: usize| {
            let progress = store(&w, &w.alice, id, &slices[nth]).await;
            let rows = w.number("SELECT processed_rows FROM contact_imports", []).await;
            (progress.unwrap(), rows, count(&w, &w.alice, "contacts WHERE account_id = $1").await)
        };
        assert_eq!(after(1).await, (Progress::Overtaken, 0, 0));
        let first = after(0).await;
        assert_eq!((first.0, first.1), (Progress::GoesOn, 4_000));
        assert_eq!(after(0).await, (Progress::Overtaken, first.1, first.2));
        w.sql("UPDATE contact_imports SET status = 'failed'", []).await;
        assert_eq!(after(1).await, (Progress::Overtaken, first.1, first.2), "the import was given up");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_of_one_import_store_each_row_once() {
    use loco_rs::bgworker::BackgroundWorker;
    world(|w| async move {
        let path = started(&w, &w.alice, large()).await;
        let upload = w.ids("SELECT id FROM import_uploads", []).await[0];
        let args = import_contacts::Args::new(w.alice.account_id.parse().unwrap(), upload);
        let run = async || ImportContacts::build(&w.ctx).perform(args).await;
        // Who finds a piece gone that the other has read fails, and its job is tried again.
        let (one, other) = tokio::join!(run(), run());
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        let seen = w.alice.seen(&path).await;
        assert_eq!((&seen["status"], &seen["record_count"]), (&json!("completed"), &json!(9_000)), "{seen}");
        assert_eq!(count(&w, &w.alice, "contacts WHERE account_id = $1").await, 9_000);
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_import_stops_and_leaves_nothing() {
    world(|w| async move {
        let path = started(&w, &w.alice, large()).await;
        let (upload, slices) = slices(&w, &w.alice).await;
        assert_eq!(store(&w, &w.alice, upload, &slices[0]).await, Ok(Progress::GoesOn));
        let seen = w.alice.seen(&path).await;
        assert_eq!((&seen["status"], seen.get("skipped")), (&json!("processing"), None));
        assert_eq!(seen["processed_rows"], json!(4_000));
        let campaign = w.alice.campaign(&json!({})).await;
        let enroll = json!({"contact_import_id": id_of(&seen)});
        let refused = w.alice.post(&format!("/campaigns/{campaign}/enroll"), &enroll).await;
        assert_eq!(refused.json::<Value>()["code"], "unprocessable");
        w.alice.delete(&path).await.assert_status_ok();
        assert_eq!(store(&w, &w.alice, upload, &slices[1]).await, Err(Code::ContactImportNotFound));
        run_jobs(&w).await;
        remove_all(&w).await;
        for table in ["contact_imports", "contacts", "import_uploads", "import_chunks"] {
            assert_eq!(w.number(&format!("SELECT count(*) FROM {table}"), []).await, 0, "{table}");
        }
        assert_eq!(
            w.number("SELECT count(*) FROM jobs WHERE name = 'ImportContacts' AND status = 'completed'", [])
                .await,
            1
        );
    })
    .await;
}

#[tokio::test]
async fn the_same_key_and_table_import_once_and_another_table_is_a_conflict() {
    world(|w| async move {
        let keyed = async |client: &Client, text: String| {
            let request = w.server.post("/contact_imports?name=n").authorization_bearer(&client.key);
            let request = request.add_header("idempotency-key", "once");
            request.bytes(text.into()).content_type("text/csv").await
        };
        let first = keyed(&w.alice, large()).await;
        let again = keyed(&w.alice, large()).await;
        assert_eq!((first.status_code(), again.status_code()), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
        assert_eq!(first.text(), again.text());
        assert_eq!(again.header("idempotent-replayed"), "true");
        let other = keyed(&w.alice, format!("{}more@x.example,,\n", large())).await;
        assert_eq!(other.json::<Value>()["code"], "idempotency_conflict");
        assert_eq!(keyed(&w.bob, large()).await.status_code(), StatusCode::ACCEPTED);
        run_jobs(&w).await;
        remove_all(&w).await;
        for (table, left) in [("contact_imports", 2), ("contacts", 18_000), ("import_chunks", 0)] {
            assert_eq!(w.number(&format!("SELECT count(*) FROM {table}"), []).await, left, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_table_keeps_to_suppressions_and_takes_what_a_deleted_import_held() {
    world(|w| async move {
        let text = "email,seats\nGone@example.com,1\nheld@example.com,2\nnew@example.com,3\n";
        for client in [&w.alice, &w.bob] {
            import(client, &["held@example.com"]).await;
        }
        let held = w.alice.seen("/contact_imports").await;
        w.alice
            .delete(&format!("/contact_imports/{}", held[0]["id"].as_str().unwrap()))
            .await
            .assert_status_ok();
        let (key, now) = (w.state().suppression_key, Timestamp::now());
        suppressions::unsubscribe(&scope(&w, &w.alice), &key, "gone@example.com", now).await.unwrap();
        for (client, records, unsubscribed) in [(&w.alice, 3, 1), (&w.bob, 2, 0)] {
            let seen = imported(&w, client, text).await;
            assert_eq!((&seen["record_count"], &seen["skipped"]), (&json!(records), &json!(3 - records)));
            let stopped = "contacts WHERE account_id = $1 AND unsubscribed_at IS NOT NULL";
            assert_eq!(count(&w, client, stopped).await, unsubscribed);
        }
        let mine = w.alice.seen("/contacts?email=held@example.com").await;
        assert_eq!(mine[0]["custom"], json!({"seats": "2"}));
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_was_broken_off_is_removed_when_it_is_old_and_not_before() {
    world(|w| async move {
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let (db, mut kept) = (w.db(), vec![]);
        for age in [hours(3), hours(1)] {
            let begun = Timestamp::now().minus(age);
            let id = SystemScope::in_transaction(&db, async |system| {
                let scope = system.account(w.alice.account_id.parse().unwrap());
                let id = import_uploads::begin(&scope, json!(["email"]), 6, begun).await?;
                for number in 0..40 {
                    import_uploads::keep(&scope, id, number, b"jo@example.com\n".to_vec()).await?;
                }
                ampout::errors::ApiResult::Ok(id)
            });
            kept.push(id.await.unwrap());
        }
        remove_all(&w).await;
        assert_eq!(w.ids("SELECT id FROM import_uploads", []).await, kept[1..]);
        assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 40);
    })
    .await;
}
