//! Imports that are stored in several transactions, and what others add meanwhile.

use std::{sync::Arc, time::Duration};

use ampout::{
    clock::Timestamp,
    models::{
        contact_imports::{Model, NewImport},
        contact_rows::{GivenContact, Ready},
        staged_imports::{self, Staged},
        suppressions,
    },
    tenancy::{Conn, Scope, SystemScope},
};
use sea_orm::DbBackend;
use serde_json::{Value as Json, json};
use testkit::wait::eventually;

use super::removal::{remove_all, waiting};
use crate::{
    requests::recipients::import,
    support::{Client, World, campaign::DEADLINE, held::Held, world},
};

/// More than one chunk takes.
pub const ROWS: usize = 2_600;

/// An import of these rows.
pub fn list(numbers: impl Iterator<Item = usize>) -> NewImport {
    let given = numbers.map(|n| GivenContact { email: Some(email(n)), ..GivenContact::default() });
    let valid = given.map(|row| row.check().unwrap()).collect();
    NewImport {
        name: "staged".into(),
        valid: Ready::new(valid).unwrap(),
        invalid: Vec::new(),
        invalid_count: 0,
    }
}

pub fn email(n: usize) -> String {
    format!("person-{n:05}@example.com")
}

/// Does it in a transaction of its own on the account's data.
pub async fn done<T>(w: &World, client: &Client, work: impl AsyncFnOnce(&Scope) -> T) -> T {
    let account = client.account_id.parse().unwrap();
    let db = w.db();
    let done = SystemScope::in_transaction(&db, async |system: &SystemScope| {
        Ok::<_, sea_orm::DbErr>(work(&system.account(account)).await)
    });
    done.await.unwrap()
}

pub async fn begun(w: &World, client: &Client, now: Timestamp) -> Option<Staged> {
    done(w, client, async |scope| staged_imports::begin(scope, "staged", now).await.unwrap()).await
}

/// Stores all of the list, at that time.
pub async fn filled(w: &World, client: &Client, list: &NewImport, now: Timestamp) -> Staged {
    let mut staged = begun(w, client, now).await.unwrap();
    let key = w.state().suppression_key;
    for chunk in list.valid.chunks() {
        let add = async |scope: &Scope| staged_imports::add(scope, &key, &staged, chunk, now).await.unwrap();
        let added = done(w, client, add).await;
        staged.note(added);
    }
    staged
}

pub async fn revealed(w: &World, client: &Client, staged: &Staged, list: &NewImport) -> Model {
    let key = w.state().suppression_key;
    let reveal = async |scope: &Scope| {
        staged_imports::reveal(scope, &key, staged.clone(), list, Timestamp::now()).await.unwrap()
    };
    done(w, client, reveal).await
}

pub async fn contacts(client: &Client, n: usize) -> usize {
    client.seen(&format!("/contacts?email={}", email(n))).await.as_array().unwrap().len()
}

#[tokio::test]
async fn nothing_of_it_is_there_until_it_is_complete_and_then_all() {
    world(|w| async move {
        let (list, theirs) = (list(0..ROWS), list(0..ROWS));
        let staged = filled(&w, &w.alice, &list, Timestamp::now()).await;
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));
        assert_eq!(contacts(&w.alice, 0).await, 0);
        remove_all(&w).await;
        // Who is of another account is not in its way, one of this is.
        assert!(begun(&w, &w.alice, Timestamp::now()).await.is_none());
        filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        // It is marked where it is, hidden.
        let (key, first) = (w.state().suppression_key, email(0));
        let leave = async |scope: &Scope| {
            suppressions::unsubscribe(scope, &key, &first, Timestamp::now()).await.unwrap();
        };
        done(&w, &w.alice, leave).await;

        let made = revealed(&w, &w.alice, &staged, &list).await;
        assert_eq!((made.record_count, made.skipped), (2_600, 0));
        let seen = w.alice.seen(&format!("/contact_imports/{}", made.id)).await;
        assert_eq!((&seen["contact_count"], &seen["status"]), (&json!(2_600), &json!("completed")), "{seen}");
        let left = w.alice.seen(&format!("/contacts?email={first}")).await;
        assert!(left[0]["unsubscribed_at"].is_string(), "{left}");
        assert_eq!(w.bob.seen("/contact_imports").await, json!([]));
        assert_eq!(contacts(&w.bob, 0).await, 0);
    })
    .await;
}

#[tokio::test]
async fn who_unsubscribed_before_a_list_comes_stays_so_in_it() {
    world(|w| async move {
        let (mine, theirs) = (list(0..3), list(0..3));
        let (key, before) = (w.state().suppression_key, email(1));
        let leave = async |scope: &Scope| {
            suppressions::unsubscribe(scope, &key, &before, Timestamp::now()).await.unwrap();
        };
        done(&w, &w.alice, leave).await;
        for (client, list) in [(&w.alice, &mine), (&w.bob, &theirs)] {
            let staged = filled(&w, client, list, Timestamp::now()).await;
            assert_eq!(revealed(&w, client, &staged, list).await.record_count, 3);
        }
        for (client, n, unsubscribed) in [(&w.alice, 1, true), (&w.alice, 0, false), (&w.bob, 1, false)] {
            let came = client.seen(&format!("/contacts?email={}", email(n))).await;
            assert_eq!(came[0]["unsubscribed_at"].is_string(), unsubscribed, "{came}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_belongs_to_the_import_that_is_seen_first() {
    world(|w| async move {
        let (first, second) = (list(0..ROWS), list(100..ROWS));
        let staged = filled(&w, &w.alice, &first, Timestamp::now()).await;
        // By a process whose clock goes ahead: it takes the other for one that was left.
        filled(&w, &w.alice, &second, Timestamp::now().plus(Duration::from_secs(60))).await;
        // Seen at once, and so its own.
        import(&w.alice, &[email(7).as_str()]).await;
        let made = revealed(&w, &w.alice, &staged, &first).await;
        assert_eq!((made.record_count, made.skipped), (2_599, 1));
        for n in [0, 7, 100, ROWS - 1] {
            assert_eq!(contacts(&w.alice, n).await, 1, "{n}");
        }
        let shown = "SELECT count(*) FROM contacts c JOIN contact_imports i ON i.id = c.contact_import_id \
                     WHERE c.email_key IS NOT NULL AND i.deleted_at IS NULL";
        assert_eq!(w.number(shown, []).await, 2_600);
    })
    .await;
}

#[tokio::test]
async fn one_that_was_left_is_in_nobodys_way_and_is_removed() {
    world(|w| async move {
        let [dead, theirs, list] = [0; 3].map(|from| list(from..ROWS));
        let before = Timestamp::now().minus(Duration::from_secs(600));
        let left = filled(&w, &w.alice, &dead, before).await;
        let other = filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        let next = filled(&w, &w.alice, &list, Timestamp::now()).await;
        let key = w.state().suppression_key;
        let late = async |scope: &Scope| {
            let refused = staged_imports::reveal(scope, &key, left, &dead, Timestamp::now()).await;
            refused.unwrap_err().code.as_str()
        };
        assert_eq!(done(&w, &w.alice, late).await, "service_unavailable");
        remove_all(&w).await;
        assert_eq!(w.number("SELECT count(*) FROM contact_imports", []).await, 2);
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 5_200);
        assert_eq!(revealed(&w, &w.alice, &next, &list).await.record_count, 2_600);
        assert_eq!(revealed(&w, &w.bob, &other, &theirs).await.record_count, 2_600);
    })
    .await;
}

/// On PostgreSQL, where the two run at once: what is not committed cannot be freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_waits_for_a_chunk_and_takes_what_it_needs_of_it() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        let list = list(0..ROWS);
        let staged = begun(&w, &w.alice, Timestamp::now()).await.unwrap();
        let key = w.state().suppression_key;
        let tx = Arc::new(w.db().begin().await.unwrap());
        let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(w.alice.account_id.parse().unwrap());
        staged_imports::add(&scope, &key, &staged, &list.valid.chunks()[0], Timestamp::now()).await.unwrap();
        drop(scope);
        let ending = async {
            eventually(DEADLINE, || async { (waiting(&w).await == 1).then_some(()) }).await.unwrap();
            tx.commit_shared().await.unwrap();
        };
        // The list is never seen.
        let seventh = email(7);
        let one = [seventh.as_str()];
        let other = async { tokio::join!(import(&w.alice, &one), ending).0 };
        let made = tokio::time::timeout(DEADLINE, other).await.unwrap();
        assert_eq!(made["record_count"], 1, "{made}");
        assert_eq!(contacts(&w.alice, 7).await, 1);
        assert_eq!(w.bob.seen("/contact_imports").await, json!([]));
    })
    .await;
}

/// Ends what a test holds, once somebody waits for it.
async fn let_go(w: &World, held: Held) {
    held.is_waited_for(w).await;
    held.commit().await;
}

/// On PostgreSQL, where the two run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_adds_an_address_waits_for_a_list_that_is_about_to_be_seen() {
    world(|w| async move {
        let Some(held) = Held::begin(&w).await else { return };
        let (list, key) = (list(0..ROWS), w.state().suppression_key);
        let staged = filled(&w, &w.alice, &list, Timestamp::now()).await;
        let scope = held.system.account(w.alice.account_id.parse().unwrap());
        staged_imports::reveal(&scope, &key, staged, &list, Timestamp::now()).await.unwrap();
        drop(scope);
        let seventh = email(7);
        let one = [seventh.as_str()];
        let other = async { tokio::join!(import(&w.alice, &one), let_go(&w, held)).0 };
        let made = tokio::time::timeout(DEADLINE, other).await.unwrap();
        assert_eq!((&made["record_count"], &made["skipped"]), (&json!(0), &json!(1)), "{made}");
        assert_eq!(contacts(&w.alice, 7).await, 1);
        assert_eq!(import(&w.bob, &one).await["record_count"], 1);
    })
    .await;
}

/// On PostgreSQL, where both look before either has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_lists_that_begin_at_once_the_second_finds_the_first() {
    world(|w| async move {
        let Some(held) = Held::begin(&w).await else { return };
        let scope = held.system.account(w.alice.account_id.parse().unwrap());
        assert!(staged_imports::begin(&scope, "first", Timestamp::now()).await.unwrap().is_some());
        drop(scope);
        let other = async { tokio::join!(begun(&w, &w.alice, Timestamp::now()), let_go(&w, held)).0 };
        assert!(tokio::time::timeout(DEADLINE, other).await.unwrap().is_none());
        assert!(begun(&w, &w.bob, Timestamp::now()).await.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_imported_again_while_the_one_before_is_removed() {
    world(|w| async move {
        let rows = |down: bool| {
            let mut numbers: Vec<usize> = (0..ROWS).collect();
            if down {
                numbers.reverse();
            }
            let contacts: Vec<Json> = numbers.into_iter().map(|n| json!({ "email": email(n) })).collect();
            json!({ "contact_import": { "name": "again", "contacts": contacts } })
        };
        w.bob.made("/contact_imports", &rows(false)).await;
        for down in [true, false, true] {
            let made = w.alice.made("/contact_imports", &rows(down)).await;
            assert_eq!(made["record_count"], ROWS, "{made}");
            let path = format!("/contact_imports/{}", made["id"].as_str().unwrap());
            w.alice.delete(&path).await.assert_status_ok();
            let body = rows(!down);
            let (again, ()) = tokio::join!(w.alice.made("/contact_imports", &body), remove_all(&w));
            assert_eq!(again["record_count"], ROWS, "{again}");
            let path = format!("/contact_imports/{}", again["id"].as_str().unwrap());
            w.alice.delete(&path).await.assert_status_ok();
            remove_all(&w).await;
        }
        let left = i64::try_from(ROWS).unwrap();
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, left);
    })
    .await;
}
