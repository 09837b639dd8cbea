//! `account_erase`: everything of one account goes, whoever is killed on the way, and nothing of another.

use std::time::Duration;

use ampout::clock::Timestamp;
use serde_json::json;
use testkit::{sink::Sink, wait::eventually};

use super::{answer, counts, end_of, killed_at, prepared, rows_of_both, run, tables_of_accounts};
use crate::{
    models::staged,
    support::{World, campaign, campaign::*, world},
};

const ERASE: [&str; 3] = ["account_erase", "account:alice@example.com", "confirm:alice@example.com"];

/// What is left of the account beside its tombstone.
async fn left(w: &World) -> Vec<(String, i64)> {
    let tables = tables_of_accounts(w).await;
    assert!(tables.len() > 20, "{tables:?}");
    counts(w, &w.alice, &tables).await.into_iter().filter(|(_, count)| *count > 0).collect()
}

async fn has_ended(w: &World) -> bool {
    w.number("SELECT count(*) FROM accounts WHERE erased_at IS NOT NULL", []).await == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_one_account_goes_but_the_hashes_of_who_unsubscribed() {
    world(|w| async move {
        rows_of_both(&w).await;
        let keyed = w.server.post("/webhooks").authorization_bearer(&w.alice.key);
        keyed
            .add_header("idempotency-key", "k")
            .json(&json!({"webhook": {"url": "http://127.0.0.1:1/"}}))
            .await;
        let job = json!({ "account_id": w.alice.account_id }).to_string();
        let job = ampout::jobs::Job::new("Probe", serde_json::from_str(&job).unwrap());
        ampout::jobs::enqueue_on(&w.ctx.db, job).await.unwrap();
        let tables = tables_of_accounts(&w).await;
        let bobs = counts(&w, &w.bob, &tables).await;

        let erased = answer(&w, &ERASE).await;
        assert_eq!(erased["id"], json!(w.alice.account_id));
        assert_eq!(left(&w).await, [("suppressions".to_owned(), 1)]);
        let jobs = format!("SELECT count(*) FROM jobs WHERE args LIKE '%{}%'", w.alice.account_id);
        assert_eq!(w.number(&jobs, []).await, 0);
        assert_eq!(counts(&w, &w.bob, &tables).await, bobs, "nothing of another account is touched");
        w.alice.get("/account").await.assert_status_unauthorized();
        w.bob.get("/account").await.assert_status_ok();
        let named = "SELECT count(*) FROM accounts WHERE email LIKE '%alice%' OR name IS NOT NULL";
        assert_eq!(w.number(named, []).await, 0);
        // The address is free again, for an account that knows nothing of the old one.
        let again = answer(&w, &["account_create", "email:alice@example.com"]).await;
        assert_ne!(again["account_id"], json!(w.alice.account_id));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_without_the_address_that_confirms_it() {
    world(|w| async move {
        rows_of_both(&w).await;
        let before = left(&w).await;
        let account = format!("account:{}", w.alice.account_id);
        for words in [
            &["account_erase", &account][..],
            &["account_erase", &account, "confirm:yes"],
            &["account_erase", &account, "confirm:bob@example.com"],
        ] {
            assert!(run(&w, words).await.refusal().contains("`confirm"));
        }
        assert_eq!(left(&w).await, before);
        w.alice.get("/account").await.assert_status_ok();
    })
    .await;
}

#[rstest::rstest]
#[case::at_once(0)]
#[case::in_the_middle(3)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_the_way_the_next_run_ends_it(#[case] batches: usize) {
    world(|w| async move {
        rows_of_both(&w).await;
        killed_at(&w, &ERASE, "task_after_batch", batches).await;
        w.alice.get("/account").await.assert_status_unauthorized();
        assert!(!has_ended(&w).await && left(&w).await.len() > 1);
        answer(&w, &ERASE).await;
        assert_eq!(left(&w).await, [("suppressions".to_owned(), 1)]);
        assert!(has_ended(&w).await);
        let once_more = ["account_erase", &format!("account:{}", w.alice.account_id), "confirm:again"];
        assert_eq!(answer(&w, &once_more).await["batches_of_all"], 0, "what is erased stays so");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_the_way_the_engine_ends_it() {
    world(|w| async move {
        rows_of_both(&w).await;
        killed_at(&w, &ERASE, "task_after_batch", 1).await;
        let engine = Engine::start(&w.ctx);
        eventually(campaign::DEADLINE, || async { has_ended(&w).await.then_some(()) }).await.unwrap();
        engine.stop().await;
        assert_eq!(left(&w).await, [("suppressions".to_owned(), 1)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_was_being_stored_goes_at_once_and_that_of_another_account_is_gone_on_with() {
    world(|w| async move {
        let (mine, theirs) = (staged::list(0..3), staged::list(0..3));
        staged::filled(&w, &w.alice, &mine, Timestamp::now()).await;
        // For as long as the task may take.
        let ahead = Timestamp::now().plus(Duration::from_secs(600));
        let other = staged::filled(&w, &w.bob, &theirs, ahead).await;
        let words = [&ERASE[..], &["format:json"]].concat();
        // It waits a moment for what it takes for sending, and not for ten minutes.
        end_of(&prepared(&w, &words).env("SMTP_FINAL_REPLY_SECONDS", "1")).await.json();
        assert_eq!(left(&w).await, []);
        assert!(has_ended(&w).await);
        assert_eq!(staged::revealed(&w, &w.bob, &other, &theirs).await.record_count, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_sending_stops_and_what_a_dead_process_held_is_given_up() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes = [campaign::credential(&sink, "one@sender.test")];
        let people = addresses("ok", 30);
        dispatched(&w.bob, &campaign(&lanes, 1), &people[..2]).await;
        dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        // An engine that dies with messages in its hands, and is not followed by another.
        let engine = crate::faults::engine_process(&w);
        let marker = engine.path("held");
        let armed = format!("after_mark=2*off->return({})", marker.display());
        let mut held = engine.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", campaign::DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();

        answer(&w, &ERASE).await;
        assert_eq!(left(&w).await, []);
        let sent = sink.count();
        let engine = Engine::start(&w.ctx);
        eventually(campaign::DEADLINE, || async {
            // What was being sent to the other account's when the process died is uncertain, and nothing else.
            let ended = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
            (w.number(ended, []).await == 2).then_some(())
        })
        .await
        .unwrap();
        engine.stop().await;
        assert!(sink.count() <= sent + 2, "nothing of the erased account was sent");
    })
    .await;
}
