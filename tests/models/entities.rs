//! Every entity against its table, on the database at hand: all columns go in and come out, and no row can point into
//! another account.

use std::sync::Arc;

use ampout::{
    clock::{Timestamp, new_id},
    models::_entities::{
        account_periods, accounts, api_keys, app_keys, batches, campaign_totals, campaigns, chores,
        contact_imports, contacts, credential_days, deliveries, engine_processes, enroll_jobs,
        enrollment_skips, enrollments, former_addresses, idempotency_keys, import_chunks, import_uploads,
        jobs, mailboxes, outreaches, parked_mails, plans, sequence_steps, smtp_credentials, stripe_events,
        subscriptions, suppressions, test_messages, usage_hours, webhook_attempts, webhook_deliveries,
        webhooks,
    },
    models::contact_rows,
    tenancy::{Conn, SystemScope},
};
use sea_orm::{DatabaseConnection, DbBackend, EntityTrait, QueryFilter, SqlErr};
use uuid::Uuid;

use crate::support::{
    World,
    rows::{Rows, THEN, insert},
    source::sources,
    world,
};

/// Whether the table has exactly this row, and which table it was.
macro_rules! same {
    ($db:expr, $table:ident, $row:expr, $($key:ident),+) => {{
        let row = $row;
        let mut found = $table::Entity::find();
        $(found = found.filter(sea_orm::ColumnTrait::eq(&$table::Column::$key, row.get($table::Column::$key)));)+
        assert_eq!(found.all($db).await.unwrap(), std::slice::from_ref(row), stringify!($table));
        stringify!($table)
    }};
}

use sea_orm::ModelTrait;

async fn of_accounts(db: &DatabaseConnection, rows: &Rows) -> Vec<&'static str> {
    vec![
        same!(db, account_periods, &rows.period, AccountId, PeriodStart),
        same!(db, usage_hours, &rows.usage, AccountId, Hour),
        same!(db, api_keys, &rows.api_key, Id),
        same!(db, contact_imports, &rows.import, Id),
        same!(db, import_uploads, &rows.upload, Id),
        same!(db, import_chunks, &rows.chunk, ImportUploadId, Number),
        same!(db, contacts, &rows.contacts[0], Id),
        same!(db, suppressions, &rows.suppression, AccountId, EmailHash),
        same!(db, outreaches, &rows.outreach, Id),
        same!(db, campaigns, &rows.campaign, Id),
        same!(db, sequence_steps, &rows.step, Id),
        same!(db, smtp_credentials, &rows.credential, Id),
        same!(db, credential_days, &rows.day, SmtpCredentialId, Day),
        same!(db, campaign_totals, &rows.totals, CampaignId),
        same!(db, batches, &rows.batches[0], Id),
        same!(db, enrollments, &rows.enrollments[0], Id),
        same!(db, deliveries, &rows.delivery, Id),
        same!(db, former_addresses, &rows.former, EnrollmentId),
        same!(db, enrollment_skips, &rows.skip, Id),
        same!(db, enroll_jobs, &rows.job, Id),
        same!(db, test_messages, &rows.test_message, Id),
        same!(db, webhooks, &rows.webhook, Id),
        same!(db, webhook_deliveries, &rows.webhook_delivery, Id),
        same!(db, webhook_attempts, &rows.webhook_attempt, WebhookDeliveryId, Attempt),
        same!(db, mailboxes, &rows.mailbox, Id),
        same!(db, parked_mails, &rows.parked, Id),
        same!(db, subscriptions, &rows.subscription, Id),
    ]
}

async fn of_nobody(db: &DatabaseConnection) -> Vec<&'static str> {
    let (plan, account) = plan_and_account();
    insert(db, &plan).await.unwrap();
    insert(db, &account).await.unwrap();
    let process = engine_processes::Model {
        id: new_id(),
        name: "a process".into(),
        started_at: THEN,
        heartbeat_at: THEN,
        dead_at: Some(THEN),
    };
    insert(db, &process).await.unwrap();
    let key = app_keys::Model {
        id: new_id(),
        purpose: "a purpose".into(),
        sealed: vec![0, 255, 7],
        created_at: THEN,
    };
    insert(db, &key).await.unwrap();
    let answer = idempotency_keys::Model {
        account_id: new_id(),
        id: new_id(),
        fingerprint: vec![0, 255, 8],
        status: Some(404),
        code: Some("not_found".into()),
        headers: "content-type: application/json\n".into(),
        body: Some(vec![0, 255, 9]),
        run_id: new_id(),
        lease_token: Some(new_id()),
        locked_until: Some(THEN),
        created_at: THEN,
        expires_at: Timestamp(THEN.0 + 1),
    };
    insert(db, &answer).await.unwrap();
    let job = job();
    insert(db, &job).await.unwrap();
    let (event, chore) = (event(account.id), chore());
    insert(db, &event).await.unwrap();
    insert(db, &chore).await.unwrap();
    vec![
        same!(db, plans, &plan, Id),
        same!(db, accounts, &account, Id),
        same!(db, stripe_events, &event, Id),
        same!(db, chores, &chore, Name),
        same!(db, engine_processes, &process, Id),
        same!(db, app_keys, &key, Id),
        same!(db, jobs, &job, Id),
        same!(db, idempotency_keys, &answer, Id),
    ]
}

fn plan_and_account() -> (plans::Model, accounts::Model) {
    let plan = plans::Model {
        id: new_id(),
        slug: "private".into(),
        name: "Private".into(),
        tier: 9,
        monthly_limit: 5_000_000_000,
        public: false,
        stripe_price_id: Some("price_1".into()),
        archived_at: Some(THEN),
        created_at: THEN,
    };
    let account = accounts::Model {
        id: new_id(),
        plan_id: plan.id,
        email: "third@example.com".into(),
        name: Some("Third".into()),
        created_at: THEN,
        deleted_at: Some(THEN),
        erased_at: Some(THEN),
        stripe_customer_id: Some("cus_1".into()),
        stripe_subscription_id: Some("sub_1".into()),
        subscription_start: Some(THEN),
        subscription_end: Some(Timestamp(THEN.0 + 1)),
    };
    (plan, account)
}

fn event(account_id: Uuid) -> stripe_events::Model {
    stripe_events::Model {
        id: "evt_1".into(),
        account_id: Some(account_id),
        kind: "invoice.payment_failed".into(),
        payload: "{}".into(),
        outcome: Some("applied".into()),
        mailed_invoice: Some("in_1".into()),
        received_at: THEN,
        processed_at: Some(Timestamp(THEN.0 + 1)),
    }
}

fn chore() -> chores::Model {
    chores::Model {
        name: "a chore".into(),
        lease_token: Some(new_id()),
        locked_until: Some(THEN),
        done_at: Some(Timestamp(THEN.0 + 1)),
    }
}

fn job() -> jobs::Model {
    jobs::Model {
        id: new_id(),
        name: "a job".into(),
        args: "{}".into(),
        status: "completed".into(),
        run_at: THEN,
        attempts: 1,
        max_attempts: 2,
        priority: -3,
        unique_key: Some("once".into()),
        lease_token: Some(new_id()),
        locked_until: Some(THEN),
        last_error: Some("none".into()),
        created_at: THEN,
        updated_at: Timestamp(THEN.0 + 1),
    }
}

async fn rows_of(w: &World, account_id: &str) -> Rows {
    let rows = Rows::of(account_id.parse().unwrap());
    rows.store(&w.ctx.db).await;
    rows
}

#[tokio::test]
async fn every_column_of_every_table_comes_out_as_it_went_in() {
    world(|w| async move {
        let rows = rows_of(&w, &w.alice.account_id).await;
        rows_of(&w, &w.bob.account_id).await;
        insert(&w.ctx.db, &rows.period).await.unwrap();
        insert(&w.ctx.db, &rows.usage).await.unwrap();
        let mut covered = of_accounts(&w.ctx.db, &rows).await;
        covered.extend(of_nobody(&w.ctx.db).await);
        covered.sort_unstable();
        let entities: Vec<String> = sources("src/models/_entities")
            .iter()
            .filter_map(|it| it.path.rsplit('/').next()?.strip_suffix(".rs").map(str::to_owned))
            .filter(|name| name != "mod")
            .collect();
        assert_eq!(covered, entities, "a table has no row in this test");
    })
    .await;
}

#[tokio::test]
async fn no_row_can_point_into_another_account() {
    world(|w| async move {
        let bobs = rows_of(&w, &w.bob.account_id).await;
        let alice = w.alice.account_id.parse().unwrap();
        let mine = rows_of(&w, &w.alice.account_id).await;
        let db = &w.ctx.db;
        let fresh = || Rows::of(alice);
        let mut refused = vec![];
        let mut campaign = fresh().campaign;
        campaign.outreach_id = Some(bobs.outreach.id);
        refused.push(("campaigns.outreach_id", insert(db, &campaign).await));
        let mut contact = fresh().contacts[0].clone();
        contact.contact_import_id = bobs.import.id;
        refused.push(("contacts.contact_import_id", insert(db, &contact).await));
        let mut step = fresh().step;
        step.campaign_id = bobs.campaign.id;
        refused.push(("sequence_steps.campaign_id", insert(db, &step).await));
        let mut credential = fresh().credential;
        credential.campaign_id = bobs.campaign.id;
        refused.push(("smtp_credentials.campaign_id", insert(db, &credential).await));
        let mut day = mine.day.clone();
        (day.smtp_credential_id, day.day) = (bobs.credential.id, 1);
        refused.push(("credential_days.smtp_credential_id", insert(db, &day).await));
        let mut batch = fresh().batches[0].clone();
        batch.campaign_id = bobs.campaign.id;
        refused.push(("batches.campaign_id", insert(db, &batch).await));
        refused.extend(crossed_enrollments(db, &mine, &bobs).await);
        refused.extend(crossed_leaves(db, &mine, &bobs).await);
        assert_eq!(refused.len(), 27);
        for (place, outcome) in refused {
            let error = outcome.expect_err(place);
            let told = error.sql_err();
            assert!(matches!(told, Some(SqlErr::ForeignKeyConstraintViolation(_))), "{place}: {error}");
        }
    })
    .await;
}

/// An enrollment's batch is one of its campaign and has its number. SQLite's key says less.
#[tokio::test]
async fn no_enrollment_can_point_to_a_batch_of_another_campaign_or_number() {
    world(|w| async move {
        let db = &w.ctx.db;
        if db.get_database_backend() != DbBackend::Postgres {
            return;
        }
        let mine = rows_of(&w, &w.alice.account_id).await;
        let other = w.alice.campaign_named("Another").await;
        let mut fits = mine.enrollments[0].clone();
        (fits.id, fits.contact_id) = (new_id(), mine.contacts[2].id);
        let mut number = fits.clone();
        number.batch_number += 1;
        let mut campaign = fits.clone();
        campaign.campaign_id = other.parse().unwrap();
        for row in [number, campaign] {
            let told = insert(db, &row).await.unwrap_err().sql_err();
            assert!(matches!(told, Some(SqlErr::ForeignKeyConstraintViolation(_))), "{told:?}");
        }
        insert(db, &fits).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_looked_at_late_is_refused_all_the_same() {
    world(|w| async move {
        let bobs = rows_of(&w, &w.bob.account_id).await.import.id;
        let tx = Arc::new(w.db().begin().await.unwrap());
        let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
        contact_rows::check_late(&system).await.unwrap();
        let sql = "INSERT INTO contacts (id, account_id, contact_import_id, email, created_at) \
                   VALUES ($1, $2, $3, 'jo@example.com', 0)";
        let alice: Uuid = w.alice.account_id.parse().unwrap();
        let stored = system.execute(sql, [new_id().into(), alice.into(), bobs.into()]).await;
        drop(system);
        assert_eq!(stored.is_ok(), w.ctx.db.get_database_backend() == DbBackend::Postgres);
        let done = match stored {
            Ok(_) => tx.commit_shared().await,
            Err(error) => Err(error),
        };
        let told = done.unwrap_err().sql_err();
        assert!(matches!(told, Some(SqlErr::ForeignKeyConstraintViolation(_))), "{told:?}");
        assert_eq!(w.number("SELECT count(*) FROM contacts WHERE account_id = $1", [alice.into()]).await, 0);
    })
    .await;
}

type Refused = Vec<(&'static str, Result<(), sea_orm::DbErr>)>;

async fn crossed_enrollments(db: &DatabaseConnection, mine: &Rows, bobs: &Rows) -> Refused {
    let mut row = mine.enrollments[0].clone();
    (row.id, row.contact_id) = (new_id(), mine.contacts[2].id);
    let with = |change: fn(&mut enrollments::Model, &Rows)| {
        let mut row = row.clone();
        change(&mut row, bobs);
        row
    };
    let campaign = with(|row, bobs| row.campaign_id = bobs.campaign.id);
    let contact = with(|row, bobs| row.contact_id = bobs.contacts[2].id);
    let batch = with(|row, bobs| row.batch_id = bobs.batches[0].id);
    let lane = with(|row, bobs| row.smtp_credential_id = Some(bobs.credential.id));
    vec![
        ("enrollments.campaign_id", insert(db, &campaign).await),
        ("enrollments.contact_id", insert(db, &contact).await),
        ("enrollments.batch_id", insert(db, &batch).await),
        ("enrollments.smtp_credential_id", insert(db, &lane).await),
    ]
}

async fn crossed_leaves(db: &DatabaseConnection, mine: &Rows, bobs: &Rows) -> Refused {
    let mut refused = vec![];
    let mut totals = mine.totals.clone();
    let other = Rows::of(mine.account_id).campaign;
    totals.campaign_id = bobs.campaign.id;
    totals.account_id = mine.account_id;
    let spare = Rows { campaign: other, ..bobs.clone() };
    // A campaign of theirs without totals, so that nothing but the account can be wrong.
    let spare = campaigns::Model { account_id: bobs.account_id, outreach_id: None, ..spare.campaign };
    insert(db, &spare).await.unwrap();
    totals.campaign_id = spare.id;
    refused.push(("campaign_totals.campaign_id", insert(db, &totals).await));

    let delivery = deliveries::Model { id: new_id(), position: 2, ..mine.delivery.clone() };
    let crossed = deliveries::Model { enrollment_id: bobs.enrollments[0].id, ..delivery.clone() };
    refused.push(("deliveries.enrollment_id", insert(db, &crossed).await));
    let crossed = deliveries::Model { smtp_credential_id: bobs.credential.id, ..delivery };
    refused.push(("deliveries.smtp_credential_id", insert(db, &crossed).await));

    let crossed = former_addresses::Model { enrollment_id: bobs.enrollments[1].id, ..mine.former.clone() };
    refused.push(("former_addresses.enrollment_id", insert(db, &crossed).await));

    let skip = enrollment_skips::Model { id: new_id(), contact_id: mine.contacts[0].id, ..mine.skip.clone() };
    let crossed = enrollment_skips::Model { campaign_id: bobs.campaign.id, ..skip.clone() };
    refused.push(("enrollment_skips.campaign_id", insert(db, &crossed).await));
    let crossed = enrollment_skips::Model { contact_id: bobs.contacts[0].id, ..skip };
    refused.push(("enrollment_skips.contact_id", insert(db, &crossed).await));

    let job = enroll_jobs::Model { id: new_id(), ..mine.job.clone() };
    let crossed = enroll_jobs::Model { campaign_id: bobs.campaign.id, ..job.clone() };
    refused.push(("enroll_jobs.campaign_id", insert(db, &crossed).await));
    let crossed = enroll_jobs::Model { contact_import_id: bobs.import.id, ..job };
    refused.push(("enroll_jobs.contact_import_id", insert(db, &crossed).await));

    let message = test_messages::Model { id: new_id(), ..mine.test_message.clone() };
    let crossed = test_messages::Model { campaign_id: bobs.campaign.id, ..message.clone() };
    refused.push(("test_messages.campaign_id", insert(db, &crossed).await));
    let crossed = test_messages::Model { smtp_credential_id: bobs.credential.id, ..message };
    refused.push(("test_messages.smtp_credential_id", insert(db, &crossed).await));
    refused.extend(no_such_account(db, mine).await);
    refused
}

/// Rows of an account that does not exist.
async fn no_such_account(db: &DatabaseConnection, mine: &Rows) -> Refused {
    let account_id = new_id();
    let key = api_keys::Model { id: new_id(), account_id, digest: vec![1], ..mine.api_key.clone() };
    let period = account_periods::Model { account_id, ..mine.period.clone() };
    let usage = usage_hours::Model { account_id, ..mine.usage.clone() };
    let mailbox = mailboxes::Model { id: new_id(), account_id, ..mine.mailbox.clone() };
    let parked = parked_mails::Model { id: new_id(), account_id, uid: 18, ..mine.parked.clone() };
    let paid = subscriptions::Model { account_id, ..Rows::of(account_id).subscription };
    let event = stripe_events::Model { id: "evt_2".into(), mailed_invoice: None, ..event(account_id) };
    vec![
        ("subscriptions.account_id", insert(db, &paid).await),
        ("stripe_events.account_id", insert(db, &event).await),
        ("mailboxes.account_id", insert(db, &mailbox).await),
        ("parked_mails.mailbox_id", insert(db, &parked).await),
        ("api_keys.account_id", insert(db, &key).await),
        ("account_periods.account_id", insert(db, &period).await),
        ("usage_hours.account_id", insert(db, &usage).await),
    ]
}
