//! Background jobs, webhooks that are told once more, and what is purged.

use serde_json::json;
use testkit::{receiver::Receiver, wait::eventually};

use super::{answer, end_of, run};
use crate::{
    faults::process,
    requests::csv_imports::started,
    support::{campaign, campaign::Engine, world},
    webhooks::{hook, tell},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_listed_and_failed_ones_have_their_attempts_again() {
    world(|w| async move {
        for name in ["One", "Two", "Three"] {
            let job = ampout::jobs::Job::new(name, json!({ "of": name }));
            ampout::jobs::enqueue_on(&w.ctx.db, job).await.unwrap();
        }
        let fail =
            "UPDATE jobs SET status = 'failed', attempts = 8, last_error = 'no luck' WHERE name IN ('One', 'Two')";
        w.sql(fail, []).await;
        let all = answer(&w, &["jobs_list"]).await;
        // Behind them are those that signing up stored.
        assert_eq!([0, 1, 2].map(|at| all[at]["name"].clone()), ["Three", "Two", "One"].map(|name| json!(name)));
        let failed = answer(&w, &["jobs_list", "status:failed", "name:Two"]).await;
        assert_eq!(failed.as_array().unwrap().len(), 1);
        assert_eq!((&failed[0]["last_error"], &failed[0]["args"]["of"]), (&json!("no luck"), &json!("Two")));
        let wrong = run(&w, &["jobs_list", "status:lost"]).await;
        assert!(wrong.refusal().contains("`status:lost` is wrong, expected `queued`"), "{}", wrong.err);

        let neither = run(&w, &["jobs_retry"]).await;
        assert!(neither.refusal().contains("either the argument `id` or `all:yes`"), "{}", neither.err);
        let id = format!("id:{}", failed[0]["id"].as_str().unwrap());
        assert_eq!(answer(&w, &["jobs_retry", &id]).await, json!({"retried": 1}));
        let again = run(&w, &["jobs_retry", &id]).await;
        assert!(again.refusal().contains("no failed job has this id"), "{}", again.err);
        assert_eq!(answer(&w, &["jobs_retry", "all:yes"]).await, json!({"retried": 1}));
        let fresh = "SELECT count(*) FROM jobs WHERE status = 'queued' AND attempts = 0 AND name IN ('One', 'Two', 'Three')";
        assert_eq!(w.number(fresh, []).await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_given_up_is_not_retried_and_the_operator_is_told_why() {
    world(|w| async move {
        for owner in [&w.alice, &w.bob] {
            started(&w, owner, "email\njo@example.com\n").await;
        }
        w.sql("UPDATE jobs SET status = 'failed', attempts = 20 WHERE name = 'ImportContacts'", []).await;
        let failed = answer(&w, &["jobs_list", "status:failed"]).await;
        assert_eq!(failed.as_array().unwrap().len(), 2);
        let refused = run(&w, &["jobs_retry", &format!("id:{}", failed[0]["id"].as_str().unwrap())]).await;
        assert!(refused.refusal().contains("it has to be imported again"), "{}", refused.err);
        assert_eq!(answer(&w, &["jobs_retry", "all:yes"]).await, json!({"retried": 0}));
        assert_eq!(answer(&w, &["jobs_list", "status:failed"]).await, failed);
    })
    .await;
}

/// The framework's own commands, which run without a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_job_that_is_cancelled_or_deleted_is_told_that_it_failed() {
    world(|w| async move {
        for words in [&["cancel", "--name", "ImportContacts"][..], &["purge", "--max-age", "0"]] {
            let mut imports = Vec::new();
            for owner in [&w.alice, &w.bob] {
                imports.push((owner, started(&w, owner, "email\njo@example.com\n").await));
            }
            assert!(end_of(&process(&w).arg("jobs").args(words.iter().copied())).await.well);
            for (owner, import) in imports {
                assert_eq!(owner.seen(&import).await["status"], "failed", "{words:?}");
            }
            answer(&w, &["purge"]).await;
            assert_eq!(w.number("SELECT count(*) FROM import_chunks", []).await, 0, "{words:?}");
        }
        let mut jobs = Vec::new();
        for owner in [&w.alice, &w.bob] {
            let campaign = owner.campaign(&json!({})).await;
            let import = w.import(owner, 10_001, "x.example").await;
            let job = owner.enroll(campaign, import, 50).await;
            jobs.push((owner, format!("/campaigns/{campaign}/enroll_jobs/{}", job["id"].as_str().unwrap())));
        }
        let running = "UPDATE jobs SET status = 'processing', locked_until = 9000000000000000000, lease_token = id \
                       WHERE name = 'EnrollImport' AND args LIKE $1";
        w.sql(running, [format!("%{}%", w.bob.account_id).into()]).await;
        let cancel = ["jobs", "cancel", "--name", "EnrollImport"];
        assert!(end_of(&process(&w).args(cancel)).await.well);
        for ((owner, job), status) in jobs.into_iter().zip(["failed", "processing"]) {
            assert_eq!(owner.seen(&job).await["status"], status);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_endpoint_missed_since_a_time_is_told_again() {
    world(|w| async move {
        let receiver = Receiver::start().await.unwrap();
        hook(&w.alice, &receiver, "/alice", &["*"]).await;
        let (off, _) = hook(&w.alice, &receiver, "/off", &["*"]).await;
        hook(&w.bob, &receiver, "/bob", &["*"]).await;
        tell(&w, &w.alice, 3).await;
        tell(&w, &w.bob, 2).await;
        w.sql("UPDATE webhook_deliveries SET state = 'failed', tries = 10, attempts = 10", []).await;
        let disabled = "UPDATE webhooks SET disabled_at = 1 WHERE id = $1";
        w.sql(disabled, [off.parse::<uuid::Uuid>().unwrap().into()]).await;

        let missing = run(&w, &["webhooks_redeliver"]).await;
        assert!(missing.refusal().contains("`since` is missing, expected days"), "{}", missing.err);
        let later = answer(&w, &["webhooks_redeliver", "since:2090-01-01"]).await;
        assert_eq!((&later["redelivered"], &later["disabled"]), (&json!(0), &json!(0)));
        let done = answer(&w, &["webhooks_redeliver", "since:1d", "account:alice@example.com"]).await;
        assert_eq!((&done["redelivered"], &done["disabled"]), (&json!(3), &json!(3)), "{done}");

        let unknown = [uuid::Uuid::now_v7().to_string(), w.alice.account_id.clone()];
        for webhook in &unknown {
            let refused = run(&w, &["webhooks_redeliver", "since:1d", &format!("webhook:{webhook}")]).await;
            assert_eq!(refused.refusal(), "error: webhook_not_found: Webhook not found");
        }
        let (mine, theirs) = (format!("webhook:{off}"), "account:bob@example.com");
        let refused = run(&w, &["webhooks_redeliver", "since:1d", theirs, &mine]).await;
        assert_eq!(refused.refusal(), "error: webhook_not_found: Webhook not found");
        let one = answer(&w, &["webhooks_redeliver", "since:1d", &mine]).await;
        assert_eq!((&one["redelivered"], &one["disabled"]), (&json!(0), &json!(3)));

        let engine = Engine::start(&w.ctx);
        let waiting = "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'";
        eventually(campaign::DEADLINE, || async { (w.number(waiting, []).await == 0).then_some(()) })
            .await
            .unwrap();
        engine.stop().await;
        let told = ["/alice", "/off", "/bob"].map(|path| receiver.requests(path).len());
        assert_eq!(told, [3, 0, 0]);
        // With those that arrived, everything of an account goes once more.
        let all =
            answer(&w, &["webhooks_redeliver", "since:1d", "account:alice@example.com", "state:all"]).await;
        assert_eq!(all["redelivered"], 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_for_long_enough_is_purged_and_counted() {
    world(|w| async move {
        for owner in [&w.alice, &w.bob] {
            let request = w.server.post("/outreaches").authorization_bearer(&owner.key);
            let request = request.add_header("idempotency-key", "once");
            request.json(&json!({"outreach": {"name": "Kept"}})).await.assert_status_success();
            let account: uuid::Uuid = owner.account_id.parse().unwrap();
            let sql = "INSERT INTO usage_hours (account_id, hour, client_kind, method, path, requests) \
                       VALUES ($1, 0, 'direct', 'GET', '/account', 1)";
            w.sql(sql, [account.into()]).await;
            let job = ampout::jobs::Job::new("Old", json!({}));
            ampout::jobs::enqueue_on(&w.ctx.db, job).await.unwrap();
        }
        w.sql("UPDATE jobs SET status = 'completed', updated_at = 1 WHERE name = 'Old'", []).await;
        let alice: uuid::Uuid = w.alice.account_id.parse().unwrap();
        w.sql("UPDATE idempotency_keys SET expires_at = 1 WHERE account_id = $1", [alice.into()]).await;
        let import = w.import(&w.bob, 3, "x.example").await;
        w.bob.delete(&format!("/contact_imports/{import}")).await.assert_status_ok();

        let event = "INSERT INTO stripe_events (id, account_id, kind, payload, received_at) \
                     VALUES ($1, $2, 'invoice.paid', '{}', $3)";
        let day = 86_400_000_000;
        for (id, days) in [("evt_old", 121), ("evt_new", 119)] {
            let received = ampout::clock::Timestamp::now().micros() - days * day;
            w.sql(event, [id.into(), alice.into(), received.into()]).await;
        }

        let done = answer(&w, &["purge"]).await;
        assert_eq!(done["stripe_events"], 1, "{done}");
        assert_eq!(w.number("SELECT count(*) FROM stripe_events WHERE id = 'evt_new'", []).await, 1);
        assert_eq!(
            (&done["jobs"], &done["idempotency_keys"], &done["usage_hours"]),
            (&json!(2), &json!(1), &json!(2)),
            "{done}"
        );
        assert!(done["deleted_batches"].as_u64().unwrap() >= 2, "{done}");
        assert_eq!(w.number("SELECT count(*) FROM contacts", []).await, 0);
        assert_eq!(w.number("SELECT count(*) FROM idempotency_keys", []).await, 1, "the other is still good");
        assert_eq!(answer(&w, &["purge"]).await["jobs"], 0);
    })
    .await;
}
