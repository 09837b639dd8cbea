//! `POST /campaigns/:campaign_id/enroll`, its jobs, and what it leaves out.

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::support::{Client, World, id_of, world};

async fn enroll(client: &Client, campaign: Uuid, body: &Json) -> (StatusCode, Json) {
    let answer = client.post(&format!("/campaigns/{campaign}/enroll"), body).await;
    (answer.status_code(), answer.json())
}

#[tokio::test]
async fn an_import_goes_into_batches_numbered_on() {
    world(|world| async move {
        let (alice, bob) = (&world.alice, &world.bob);
        let (mine, theirs) = (alice.campaign(&json!({})).await, bob.campaign(&json!({})).await);
        let import = world.import(alice, 5, "x.example").await;
        let other = world.import(bob, 5, "x.example").await;
        bob.enroll(theirs, other, 1).await;
        let body = alice.enroll(mine, import, 2).await;
        assert_eq!(
            body,
            json!({ "enrolled": 5, "batches": 3, "batch_size": 2, "skipped": [], "skipped_count": 0 })
        );
        let again = alice.enroll(mine, import, 2).await;
        assert_eq!((&again["enrolled"], &again["batches"]), (&json!(0), &json!(0)));
        let more = world.import(alice, 2, "y.example").await;
        assert_eq!(alice.enroll(mine, more, 50).await["batches"], json!(1));
        let shown = alice.seen(&format!("/campaigns/{mine}")).await;
        assert_eq!(shown["totals"]["pending"], json!(7));
        let numbers: Vec<_> =
            shown["per_batch"].as_array().unwrap().iter().map(|it| it["batch_number"].clone()).collect();
        assert_eq!(numbers.len(), 4, "{numbers:?}");
        assert!([1, 2, 3, 4].iter().all(|number| numbers.contains(&json!(number))), "{numbers:?}");
    })
    .await;
}

#[tokio::test]
async fn unsubscribed_and_deleted_contacts_are_not_enrolled() {
    world(|world| async move {
        let campaign = world.alice.campaign(&json!({})).await;
        let import = world.import(&world.alice, 3, "x.example").await;
        let contacts = world.contacts_of(import).await;
        world.sql("UPDATE contacts SET unsubscribed_at = 1 WHERE id = $1", [contacts[0].into()]).await;
        world
            .sql("UPDATE contacts SET deleted_at = 1, email_key = NULL WHERE id = $1", [contacts[1].into()])
            .await;
        let body = world.alice.enroll(campaign, import, 50).await;
        assert_eq!((&body["enrolled"], &body["skipped_count"]), (&json!(1), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn a_sibling_with_unique_contacts_takes_precedence_and_the_skip_is_kept() {
    world(|world| async move {
        let alice = &world.alice;
        let outreach = Uuid::now_v7();
        let account: Uuid = alice.account_id.parse().unwrap();
        world
            .sql(
                "INSERT INTO outreaches (id, account_id, name, unique_contacts, created_at) VALUES ($1, $2, 'O', true, 0)",
                [outreach.into(), account.into()],
            )
            .await;
        let in_outreach = json!({ "outreach_id": outreach });
        let (first, second) = (alice.campaign(&in_outreach).await, alice.campaign(&in_outreach).await);
        let import = world.import(alice, 2, "x.example").await;
        alice.enroll(first, import, 50).await;
        let contacts = world.contacts_of(import).await;
        for _ in 0..2 {
            let body = alice.enroll(second, import, 50).await;
            assert_eq!((&body["enrolled"], &body["skipped_count"]), (&json!(0), &json!(2)));
            assert_eq!(
                body["skipped"][0],
                json!({ "contact_id": contacts[0], "email": "c0@x.example", "reason": "cross_campaign_duplicate" })
            );
        }
        let skips = alice.seen(&format!("/campaigns/{second}/enrollment_skips")).await;
        assert_eq!(skips.as_array().unwrap().len(), 2);
        assert_eq!(skips[0]["kind"], json!("cross_campaign_duplicate"));
        let shown = alice.seen(&format!("/campaigns/{second}")).await;
        assert_eq!(shown["skipped"]["cross_campaign_duplicate"], json!(2));
        let one = json!({ "contact_id": contacts[0] });
        let answer = alice.post(&format!("/campaigns/{second}/enroll_contact"), &one).await;
        answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json::<Json>()["details"]["reason"], json!("cross_campaign_duplicate"));
    })
    .await;
}

#[tokio::test]
async fn siblings_that_enroll_at_the_same_time_share_no_contact() {
    world(|world| async move {
        let alice = &world.alice;
        let outreach =
            alice.made("/outreaches", &json!({ "outreach": { "name": "O", "unique_contacts": true } })).await;
        let in_outreach = json!({ "outreach_id": outreach["id"] });
        let (first, second) = (alice.campaign(&in_outreach).await, alice.campaign(&in_outreach).await);
        let import = world.import(alice, 200, "x.example").await;
        let (one, two) = tokio::join!(alice.enroll(first, import, 50), alice.enroll(second, import, 50));
        assert_eq!(one["enrolled"].as_i64().unwrap() + two["enrolled"].as_i64().unwrap(), 200);
        assert_eq!(world.number("SELECT count(DISTINCT contact_id) FROM enrollments", []).await, 200);
        assert_eq!(world.number("SELECT count(*) FROM enrollments", []).await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_domain_that_takes_no_mail_is_skipped_and_one_that_fails_is_not() {
    world(|world| async move {
        world.with_dns_that_knows_only_example();
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({ "verify_email_mx": true })).await;
        for (domain, enrolled) in [("x.example", 1), ("nowhere.invalid", 0), ("slow.test", 1)] {
            let import = world.import(alice, 1, domain).await;
            let body = alice.enroll(campaign, import, 50).await;
            assert_eq!(body["enrolled"], json!(enrolled), "{domain}");
        }
        let shown = alice.seen(&format!("/campaigns/{campaign}")).await;
        assert_eq!(shown["skipped"]["mx_invalid"], json!(1));
        let unchecked = alice.campaign(&json!({})).await;
        let import = world.import(alice, 1, "gone.invalid").await;
        assert_eq!(alice.enroll(unchecked, import, 50).await["enrolled"], json!(1));
    })
    .await;
}

#[tokio::test]
async fn refusals_come_in_the_contracts_order() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let import = world.import(alice, 1, "x.example").await;
        let foreign = world.import(&world.bob, 1, "x.example").await;
        let code =
            |(status, body): (StatusCode, Json)| (status.as_u16(), body["code"].as_str().unwrap().to_owned());
        let missing = (404, "campaign_not_found".to_owned());
        let unknown = json!({ "contact_import_id": import });
        assert_eq!(code(enroll(alice, Uuid::now_v7(), &json!({ "batch_size": 0 })).await), missing);
        assert_eq!(code(enroll(&world.bob, campaign, &unknown).await), missing);
        for id in [json!(foreign), json!(Uuid::now_v7()), json!("x")] {
            let body = json!({ "contact_import_id": id, "batch_size": 0 });
            assert_eq!(code(enroll(alice, campaign, &body).await), (404, "contact_import_not_found".into()));
        }
        let (_, body) = enroll(alice, campaign, &json!({ "batch_size": 100_001 })).await;
        assert_eq!(
            body["message"],
            json!("Contact import id can't be blank, Batch size must be less than or equal to 100000")
        );
        world.sql("UPDATE contact_imports SET status = 'processing' WHERE id = $1", [import.into()]).await;
        assert_eq!(code(enroll(alice, campaign, &unknown).await), (422, "unprocessable".into()));
    })
    .await;
}

/// Runs what the queue holds, as the engine would.
async fn run_jobs(world: &World) {
    use loco_rs::bgworker::BackgroundWorker;
    let rows = world.ids("SELECT id FROM enroll_jobs WHERE status = 'processing'", []).await;
    for job in rows {
        let account: Uuid = world.alice.account_id.parse().unwrap();
        let args = serde_json::from_value(json!({ "account_id": account, "enroll_job_id": job })).unwrap();
        ampout::workers::EnrollImport::build(&world.ctx).perform(args).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_import_is_enrolled_in_the_background_and_fills_its_batches() {
    world(|world| async move {
        let alice = &world.alice;
        let campaign = alice.campaign(&json!({})).await;
        let import = world.import(alice, 10_001, "x.example").await;
        let body = json!({ "contact_import_id": import, "batch_size": 3_000 });
        let (status, started) = enroll(alice, campaign, &body).await;
        assert_eq!((status, &started["status"]), (StatusCode::ACCEPTED, &json!("processing")));
        let path = format!("/campaigns/{campaign}/enroll_jobs/{}", id_of(&started));
        assert_eq!(
            alice.seen(&path).await,
            json!({ "id": started["id"], "status": "processing", "processed": 0 })
        );
        let job = "SELECT count(*) FROM jobs WHERE name = 'EnrollImport' AND max_attempts = $1";
        assert_eq!(world.number(job, [ampout::jobs::RESUMABLE_ATTEMPTS.into()]).await, 1);
        world.bob.get(&path).await.assert_status(StatusCode::NOT_FOUND);
        run_jobs(&world).await;
        run_jobs(&world).await;
        assert_eq!(
            alice.seen(&path).await,
            json!({
                "id": started["id"], "status": "completed", "processed": 10_001, "enrolled": 10_001,
                "batches": 4, "batch_size": 3_000, "skipped": [], "skipped_count": 0
            })
        );
        let full = "SELECT count(*) FROM batches WHERE undispatched = 3000 AND pending = 3000";
        assert_eq!(world.number(full, []).await, 3);
        assert_eq!(world.number("SELECT count(*) FROM enrollments", []).await, 10_001);
    })
    .await;
}

#[tokio::test]
async fn an_import_of_as_many_as_are_enrolled_at_once_is() {
    world(|world| async move {
        let campaign = world.alice.campaign(&json!({})).await;
        let most = ampout::sending::enrolling::AT_ONCE;
        let import = world.import(&world.alice, usize::try_from(most).unwrap(), "x.example").await;
        // Another account's contacts do not make it larger.
        world.import(&world.bob, 1, "x.example").await;
        assert_eq!(world.alice.enroll(campaign, import, 3_000).await["enrolled"], json!(most));
    })
    .await;
}
