//! What is deleted goes from the tables too, and only that.

use std::sync::Arc;

use ampout::{
    clock::Timestamp,
    models::{removal::remove_some, suppressions},
    tenancy::{Conn, SystemScope},
};
use sea_orm::{ConnectionTrait, DbBackend};
use serde_json::json;
use testkit::{sink::Sink, wait::eventually};

use crate::faults::{engine_process, heir_process};
use crate::support::{World, campaign::*, rows::Rows, world};

pub async fn remove_all(w: &World) {
    while remove_once(w).await {}
}

/// What one transaction removes. False: nothing.
async fn remove_once(w: &World) -> bool {
    let tx = Arc::new(w.db().begin().await.unwrap());
    let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
    let more = remove_some(&system, Timestamp::now()).await.unwrap();
    drop(system);
    Arc::into_inner(tx).unwrap().commit().await.unwrap();
    more
}

/// What waits for a lock of this database's server.
pub async fn waiting(w: &World) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    w.number(sql, []).await
}

async fn count(w: &World, table: &str) -> i64 {
    w.number(&format!("SELECT count(*) FROM {table}"), []).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_import_goes_with_its_contacts_and_their_enrollments() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes = [credential(&sink, "one@sender.test")];
        let mine = enrolled(&w.alice, &campaign(&lanes, 2), &addresses("ok", 250)).await;
        enrolled(&w.bob, &campaign(&lanes, 2), &addresses("ok", 7)).await;
        let imports = w.alice.seen("/contact_imports").await;
        let import = imports[0]["id"].as_str().unwrap();
        w.alice.delete(&format!("/contact_imports/{import}")).await.assert_status_ok();
        remove_all(&w).await;
        assert_eq!(count(&w, "contacts").await, 7);
        assert_eq!(count(&w, "enrollments").await, 7);
        assert_eq!(count(&w, "contact_imports").await, 1);
        let seen = w.alice.seen(&format!("/campaigns/{mine}")).await;
        assert_eq!(seen["totals"]["pending"], 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_campaign_goes_whole_and_what_was_uncertain_stays_counted() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let lanes = [credential(&sink, "one@sender.test")];
        let people = ["ok@example.test", "close-after-dot@example.test"].map(str::to_owned);
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        enrolled(&w.bob, &campaign(&lanes, 1), &people).await;
        eventually(DEADLINE, || async {
            let rest = "SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')";
            (w.number(rest, []).await == 2).then_some(())
        })
        .await
        .unwrap();
        w.alice.post(&format!("/campaigns/{id}/pause"), &serde_json::json!({})).await;
        engine.stop().await;
        w.alice.delete(&format!("/campaigns/{id}")).await.assert_status_ok();
        remove_all(&w).await;
        for (table, left) in
            [("campaigns", 1), ("enrollments", 2), ("deliveries", 0), ("smtp_credentials", 1)]
        {
            assert_eq!(count(&w, table).await, left, "{table}");
        }
        assert_eq!(count(&w, "contacts").await, 4);
        let period = "SELECT sends FROM account_periods WHERE sends > 0";
        assert_eq!(w.number(period, []).await, 2, "the uncertain one keeps its place");
        assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM account_periods", []).await, 0);
    })
    .await;
}

/// On PostgreSQL, where the removal looks before it locks: between the two a lane may claim what it found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lane_claims_while_the_removal_waits_stays_until_it_is_settled() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        let sink = Sink::start().await.unwrap();
        let lanes = [credential(&sink, "one@sender.test")];
        dispatched(&w.alice, &campaign(&lanes, 1), &addresses("ok", 3)).await;
        enrolled(&w.bob, &campaign(&lanes, 1), &addresses("ok", 2)).await;
        let engine = engine_process(&w);
        let armed = format!("claimed=return({})", engine.path("held").display());
        let mut held = engine.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        let import = w.alice.seen("/contact_imports").await[0]["id"].as_str().unwrap().to_owned();
        w.alice.delete(&format!("/contact_imports/{import}")).await.assert_status_ok();

        // As it was before the claim, and claimed again by somebody whose commit is under way.
        w.sql("UPDATE enrollments SET progress = 'queued' WHERE progress = 'claimed'", []).await;
        let claim = w.db().begin().await.unwrap();
        let run = async |sql: &str| claim.connection().execute_unprepared(sql).await.unwrap();
        run("SELECT 1 FROM account_periods FOR UPDATE").await;
        run("UPDATE enrollments SET progress = 'claimed' WHERE progress = 'queued' AND smtp_credential_id IS NOT NULL")
            .await;
        let removal = tokio::spawn({
            let w = w.clone();
            async move { remove_all(&w).await }
        });
        eventually(DEADLINE, || async { (waiting(&w).await > 0).then_some(()) }).await.unwrap();
        claim.commit().await.unwrap();
        tokio::time::timeout(DEADLINE, removal).await.unwrap().unwrap();
        assert_eq!(count(&w, "deliveries WHERE state = 'claimed'").await, 3);
        assert_eq!(count(&w, "contacts").await, 5);

        let _again = heir_process(&w).start().unwrap();
        eventually(DEADLINE, || async {
            remove_all(&w).await;
            (count(&w, "contacts").await == 2).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM account_periods", []).await, 0);
        assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM credential_days", []).await, 0);
        assert_eq!(sink.count(), 0, "nothing goes to the deleted");
    })
    .await;
}

/// Nobody but the removal ends what is uncertain and whose contact is gone: it asks whether that was the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_only_an_uncertain_message_kept_going_is_completed_with_its_contact() {
    world(|w| async move {
        let [by_contact, by_import, kept, theirs] =
            [&w.alice, &w.alice, &w.alice, &w.bob].map(|client| Rows::of(client.account_id.parse().unwrap()));
        for rows in [&by_contact, &by_import, &kept, &theirs] {
            rows.store(&w.ctx.db).await;
        }
        w.alice.delete(&format!("/contacts/{}", by_contact.contacts[0].id)).await.assert_status_ok();
        w.alice.delete(&format!("/contact_imports/{}", by_import.import.id)).await.assert_status_ok();
        remove_all(&w).await;
        for (client, rows, status) in [
            (&w.alice, &by_contact, "completed"),
            (&w.alice, &by_import, "completed"),
            (&w.alice, &kept, "active"),
            (&w.bob, &theirs, "active"),
        ] {
            assert_eq!(client.seen(&format!("/campaigns/{}", rows.campaign.id)).await["status"], status);
        }
        // The other contact of each campaign is pending too, and gone with the import alone.
        for (rows, pending) in [(&by_contact, 1), (&by_import, 0), (&kept, 2), (&theirs, 2)] {
            let totals = "SELECT pending FROM campaign_totals WHERE campaign_id = $1";
            assert_eq!(w.number(totals, [rows.campaign.id.into()]).await, pending);
            let of_dispatched = "SELECT pending FROM batches WHERE id = $1";
            let left = w.number(of_dispatched, [rows.batches[0].id.into()]).await;
            assert_eq!(left, i64::from(pending == 2));
        }
    })
    .await;
}

#[tokio::test]
async fn contacts_in_any_number_of_campaigns_go_in_transactions_of_one_size() {
    world(|w| async move {
        let [mine, theirs] =
            [w.import(&w.alice, 5, "a.example").await, w.import(&w.bob, 5, "b.example").await];
        for _ in 0..50 {
            let campaign = w.alice.campaign(&json!({})).await;
            w.alice.enroll(campaign, mine, 5).await;
        }
        let campaign = w.bob.campaign(&json!({})).await;
        w.bob.enroll(campaign, theirs, 5).await;
        w.alice.delete(&format!("/contact_imports/{mine}")).await.assert_status_ok();
        for left in [55, 5] {
            assert!(remove_once(&w).await);
            assert_eq!(count(&w, "enrollments").await, left);
        }
        remove_all(&w).await;
        assert_eq!([count(&w, "contact_imports").await, count(&w, "contacts").await], [1, 5]);
        assert_eq!(w.number("SELECT CAST(sum(pending) AS bigint) FROM campaign_totals", []).await, 5);
    })
    .await;
}

#[tokio::test]
async fn what_a_campaign_has_besides_goes_in_transactions_of_one_size_too() {
    world(|w| async move {
        let mut campaigns = Vec::new();
        for client in [&w.alice, &w.bob] {
            let import = w.import(client, 1_500, "many.example").await;
            campaigns.push(client.campaign(&json!({})).await);
            let skips = "INSERT INTO enrollment_skips (id, account_id, campaign_id, contact_id, email, kind, reason, \
                         created_at) SELECT id, account_id, $2, id, email, 'mx_invalid', 'none', 0 FROM contacts \
                         WHERE contact_import_id = $1";
            w.sql(skips, [import.into(), campaigns[campaigns.len() - 1].into()]).await;
        }
        w.alice.delete(&format!("/campaigns/{}", campaigns[0])).await.assert_status_ok();
        for left in [2_000, 1_500] {
            assert!(remove_once(&w).await);
            assert_eq!(count(&w, "enrollment_skips").await, left);
        }
        remove_all(&w).await;
        for table in ["campaigns", "campaign_totals", "smtp_credentials"] {
            assert_eq!(count(&w, table).await, 1, "{table}");
        }
        assert_eq!(count(&w, "contacts").await, 3_000);
    })
    .await;
}

/// On PostgreSQL: an import that frees addresses locks contacts in their order, a removal in that of their ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_waits_for_whoever_may_free_the_same_addresses() {
    world(|w| async move {
        if w.db().backend() != DbBackend::Postgres {
            return;
        }
        let import = w.import(&w.alice, 3, "a.example").await;
        w.import(&w.bob, 3, "a.example").await;
        w.alice.delete(&format!("/contact_imports/{import}")).await.assert_status_ok();
        let tx = Arc::new(w.db().begin().await.unwrap());
        let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(w.alice.account_id.parse().unwrap());
        suppressions::share_addresses(&scope).await.unwrap();
        drop(scope);
        let removal = tokio::spawn({
            let w = w.clone();
            async move { remove_all(&w).await }
        });
        eventually(DEADLINE, || async { (waiting(&w).await == 1).then_some(()) }).await.unwrap();
        let locked = "SELECT count(*) FROM (SELECT 1 FROM contacts FOR UPDATE SKIP LOCKED) free";
        assert_eq!(w.number(locked, []).await, 6, "nothing is locked yet");
        tx.commit_shared().await.unwrap();
        tokio::time::timeout(DEADLINE, removal).await.unwrap().unwrap();
        assert_eq!(count(&w, "contacts").await, 3);
    })
    .await;
}
