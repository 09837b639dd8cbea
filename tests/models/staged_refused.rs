//! Imports that are stored in several transactions and are not seen in the end: who refuses them, and what is left of them.

use std::time::Duration;

use ampout::{
    clock::Timestamp,
    errors::ApiError,
    imports::Listed,
    models::{removal::remove_some, staged_imports},
    tenancy::{Scope, SystemScope},
};
use rstest::rstest;
use sea_orm::DbBackend;
use serde_json::{Value as Json, json};
use testkit::wait::eventually;
use uuid::Uuid;

use super::{
    removal::remove_all,
    staged::{ROWS, begun, contacts, done, email, filled, list, revealed},
};
use crate::{
    requests::recipients::scope,
    support::{Client, World, campaign::DEADLINE, world},
};

const CONTACTS: &str = "SELECT count(*) FROM contacts";

/// Waits until one import, of both accounts', is one that was deleted: not some minutes later, as it would be by itself.
async fn one_is_given_up(w: &World) {
    let ended = "SELECT count(*) FROM contact_imports WHERE deleted_at <= $1";
    eventually(DEADLINE, || async {
        (w.number(ended, [Timestamp::now().micros().into()]).await == 1).then_some(())
    })
    .await
    .unwrap();
}

/// Has the database refuse a change: `UPDATE OF some_column ON some_table`.
async fn refuse(w: &World, change: &str) {
    if w.db().backend() == DbBackend::Postgres {
        let function = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                        $$ BEGIN RAISE EXCEPTION 'refused'; END $$";
        w.sql(function, []).await;
        let trigger =
            format!("CREATE TRIGGER refused BEFORE {change} FOR EACH ROW EXECUTE FUNCTION refuse()");
        w.sql(&trigger, []).await;
    } else {
        let trigger =
            format!("CREATE TRIGGER refused BEFORE {change} BEGIN SELECT RAISE(ABORT, 'refused'); END");
        w.sql(&trigger, []).await;
    }
}

#[tokio::test]
async fn a_list_that_is_given_up_is_in_nobodys_way() {
    world(|w| async move {
        let (db, key) = (w.db(), w.state().suppression_key);
        let alice: Uuid = w.alice.account_id.parse().unwrap();
        let theirs = list(0..3);
        let other = filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        let any =
            async |client: &Client| staged_imports::any(&scope(&w, client), Timestamp::now()).await.unwrap();
        let refusing = async || Err(ApiError::unavailable("no"));
        assert!(Listed::take(&db, alice, &key, list(0..ROWS), refusing).await.is_err());
        assert!(!any(&w.alice).await, "it was refused");
        let taken = Listed::take(&db, alice, &key, list(0..ROWS), async || Ok(())).await.unwrap();
        assert!(any(&w.alice).await);
        assert_eq!(w.number(CONTACTS, []).await, 2_603);
        taken.abandon().await;
        assert!(!any(&w.alice).await && any(&w.bob).await);
        remove_all(&w).await;
        assert_eq!(w.number(CONTACTS, []).await, 3);
        assert_eq!(revealed(&w, &w.bob, &other, &theirs).await.record_count, 3);
    })
    .await;
}

#[tokio::test]
async fn a_list_whose_request_is_cut_off_is_given_up() {
    world(|w| async move {
        let (db, key) = (w.db(), w.state().suppression_key);
        let alice: Uuid = w.alice.account_id.parse().unwrap();
        begun(&w, &w.bob, Timestamp::now()).await.unwrap();
        drop(Listed::take(&db, alice, &key, list(0..ROWS), async || Ok(())).await.unwrap());
        one_is_given_up(&w).await;
        assert!(begun(&w, &w.alice, Timestamp::now()).await.is_some());
    })
    .await;
}

/// What is refused last is as if a twin in another process had answered first: the transaction in which all is well is undone.
#[rstest]
#[case::which_cannot_be_seen("UPDATE OF record_count ON contact_imports")]
#[case::whose_answer_cannot_be_stored("INSERT ON idempotency_keys")]
#[tokio::test]
async fn a_list_whose_transaction_is_undone_is_given_up(#[case] refused: &'static str) {
    world(|w| async move {
        let ahead = Timestamp::now().plus(Duration::from_secs(600));
        begun(&w, &w.bob, ahead).await.unwrap();
        refuse(&w, refused).await;
        let contacts: Vec<Json> = (0..ROWS).map(|n| json!({ "email": email(n) })).collect();
        let body = json!({ "contact_import": { "name": "long", "contacts": contacts } });
        let request = w.server.post("/contact_imports").authorization_bearer(&w.alice.key);
        let failed = request.add_header("idempotency-key", "k1").json(&body).await;
        assert_eq!(failed.status_code(), 500, "{}", failed.text());
        one_is_given_up(&w).await;
        assert_eq!(w.number(CONTACTS, []).await, 2_600);
        assert_eq!(w.alice.seen("/contact_imports").await, json!([]));
        assert!(begun(&w, &w.alice, Timestamp::now()).await.is_some(), "the next need not wait");
        assert!(begun(&w, &w.bob, Timestamp::now()).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_list_that_is_seen_is_not_given_up_any_more_nor_that_of_another_account() {
    world(|w| async move {
        let (mine, theirs) = (list(0..3), list(0..3));
        let staged = filled(&w, &w.alice, &mine, Timestamp::now()).await;
        let other = filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        revealed(&w, &w.alice, &staged, &mine).await;
        let late = async |scope: &Scope| {
            for list in [&staged, &other] {
                staged_imports::give_up(scope, list, Timestamp::now()).await.unwrap();
            }
        };
        done(&w, &w.alice, late).await;
        assert_eq!(contacts(&w.alice, 0).await, 1);
        assert_eq!(revealed(&w, &w.bob, &other, &theirs).await.record_count, 3);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_stood_still_for_too_long_is_not_gone_on_with() {
    world(|w| async move {
        let (mine, theirs, key) = (list(0..3), list(0..3), w.state().suppression_key);
        let before = Timestamp::now().minus(Duration::from_secs(31));
        let staged = filled(&w, &w.alice, &mine, before).await;
        let other = filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        let late = async |scope: &Scope| {
            let now = Timestamp::now();
            let add = staged_imports::add(scope, &key, &staged, &mine.valid.chunks()[0], now).await.map(drop);
            let seen = staged_imports::reveal(scope, &key, staged.clone(), &mine, now).await.map(drop);
            [add, seen].map(|refused| refused.unwrap_err().code.as_str())
        };
        assert_eq!(done(&w, &w.alice, late).await, ["service_unavailable"; 2]);
        assert!(begun(&w, &w.alice, Timestamp::now()).await.is_some(), "the next need not wait");
        assert_eq!(revealed(&w, &w.bob, &other, &theirs).await.record_count, 3);
    })
    .await;
}

#[tokio::test]
async fn whoever_removes_may_go_by_a_clock_that_is_minutes_ahead() {
    world(|w| async move {
        let (mine, theirs) = (list(0..5), list(0..3));
        let before = Timestamp::now().minus(Duration::from_secs(600));
        filled(&w, &w.bob, &theirs, before).await;
        let staged = filled(&w, &w.alice, &mine, Timestamp::now()).await;
        let ahead = Timestamp::now().plus(Duration::from_secs(4 * 60));
        let remove = async || {
            let work = async |system: &SystemScope| remove_some(system, ahead).await;
            SystemScope::in_transaction(&w.db(), work).await.unwrap()
        };
        while remove().await {}
        assert_eq!(w.number(CONTACTS, []).await, 5, "what was left goes, and nothing else");
        assert_eq!(revealed(&w, &w.alice, &staged, &mine).await.record_count, 5);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_stored_for_an_account_that_is_gone() {
    world(|w| async move {
        let (mine, theirs, key) = (list(0..3), list(0..3), w.state().suppression_key);
        let staged = filled(&w, &w.alice, &mine, Timestamp::now()).await;
        let other = filled(&w, &w.bob, &theirs, Timestamp::now()).await;
        let account: Uuid = w.alice.account_id.parse().unwrap();
        w.sql("UPDATE accounts SET deleted_at = 1 WHERE id = $1", [account.into()]).await;
        let late = async |scope: &Scope| {
            let now = Timestamp::now();
            let begin = staged_imports::begin(scope, "late", now).await.map(drop);
            let add = staged_imports::add(scope, &key, &staged, &mine.valid.chunks()[0], now).await.map(drop);
            let seen = staged_imports::reveal(scope, &key, staged.clone(), &mine, now).await.map(drop);
            [begin, add, seen].map(|refused| refused.unwrap_err().code.as_str())
        };
        assert_eq!(done(&w, &w.alice, late).await, ["unauthorized"; 3]);
        assert_eq!(revealed(&w, &w.bob, &other, &theirs).await.record_count, 3);
    })
    .await;
}
