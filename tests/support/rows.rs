//! One row of every table for an account, each column filled: what a test of all tables, or of all routes, begins with.

mod told;

pub use ampout::models::_entities::{credential_days, parked_mails, smtp_credentials};
use ampout::{
    clock::{Timestamp, new_id},
    crypto::{self, Sealer},
    models::{
        _entities::{
            account_periods, api_keys, batches, campaign_totals, campaigns, contact_imports, contacts,
            deliveries, enroll_jobs, enrollment_skips, enrollments, former_addresses, import_chunks,
            import_uploads, mailboxes, outreaches, sequence_steps, subscriptions, suppressions,
            test_messages, usage_hours, webhook_attempts, webhook_deliveries, webhooks,
        },
        deliveries::evidence::Heard,
        smtp_credentials::{imap_password_place, smtp_password_place},
        states::{
            CampaignStatus, ClientKind, DeliveryState, EnrollmentStatus, JobStatus, Progress, SkipKind,
            TestState,
        },
        webhooks::secret_place,
    },
};
use sea_orm::{DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, Iterable, ModelTrait};
use serde_json::json;
use uuid::Uuid;

/// A moment with microseconds, so that a lost digit shows.
pub const THEN: Timestamp = Timestamp(1_795_000_000_123_456);

/// What an account owns: a campaign with everything that hangs on it.
#[derive(Clone)]
pub struct Rows {
    pub account_id: Uuid,
    pub api_key: api_keys::Model,
    pub period: account_periods::Model,
    pub usage: usage_hours::Model,
    pub import: contact_imports::Model,
    pub upload: import_uploads::Model,
    pub chunk: import_chunks::Model,
    /// Of the enrollment whose message is uncertain, of the one that is not dispatched, and of none.
    pub contacts: [contacts::Model; 3],
    pub suppression: suppressions::Model,
    pub outreach: outreaches::Model,
    pub campaign: campaigns::Model,
    pub step: sequence_steps::Model,
    pub credential: smtp_credentials::Model,
    pub day: credential_days::Model,
    pub totals: campaign_totals::Model,
    /// Dispatched, and open.
    pub batches: [batches::Model; 2],
    /// Of the first two contacts.
    pub enrollments: [enrollments::Model; 2],
    pub delivery: deliveries::Model,
    pub former: former_addresses::Model,
    pub skip: enrollment_skips::Model,
    pub job: enroll_jobs::Model,
    pub test_message: test_messages::Model,
    pub webhook: webhooks::Model,
    pub webhook_delivery: webhook_deliveries::Model,
    pub webhook_attempt: webhook_attempts::Model,
    pub mailbox: mailboxes::Model,
    pub parked: parked_mails::Model,
    pub subscription: subscriptions::Model,
}

/// Inserts every column of `row` as it is.
pub async fn insert<M, A>(db: &DatabaseConnection, row: &M) -> Result<(), DbErr>
where
    M: ModelTrait + IntoActiveModel<A> + Clone,
    A: sea_orm::ActiveModelTrait<Entity = M::Entity> + Send,
{
    let mut active = row.clone().into_active_model();
    for column in <M::Entity as EntityTrait>::Column::iter() {
        active.set(column, row.get(column));
    }
    M::Entity::insert(active).exec_without_returning(db).await.map(|_| ())
}

impl Rows {
    /// Rows for the account, not yet stored.
    pub fn of(account_id: Uuid) -> Self {
        let import = import(account_id);
        let contacts = [(); 3].map(|()| contact(&import));
        let upload = upload(&import);
        let outreach = outreach(account_id);
        let campaign = campaign(&outreach);
        let credential = credential(&campaign);
        let batches = [batch(&campaign, 1, Some(THEN)), batch(&campaign, 2, None)];
        let enrollments = [
            enrollment(&contacts[0], &batches[0], Some(credential.id), Progress::Uncertain),
            enrollment(&contacts[1], &batches[1], None, Progress::Queued),
        ];
        let id = campaign.id;
        let webhook = told::webhook(account_id);
        let webhook_delivery = told::webhook_delivery(&webhook);
        let mailbox = mailbox(&credential);
        Self {
            account_id,
            api_key: api_key(account_id),
            period: account_periods::Model {
                account_id,
                period_start: THEN,
                period_end: Timestamp(THEN.0 + 1),
                sends: 5_000_000_000,
                reserved: 2,
                told_percent: 80,
            },
            usage: usage_hours::Model {
                account_id,
                hour: THEN,
                client_kind: ClientKind::Sdk,
                method: "GET".into(),
                path: "/contacts/:id".into(),
                requests: 5_000_000_000,
            },
            suppression: suppressions::Model {
                account_id,
                email_hash: crypto::random_bytes::<32>().to_vec(),
                created_at: THEN,
            },
            step: step(&campaign),
            day: credential_days::Model {
                smtp_credential_id: credential.id,
                day: 20_000,
                account_id,
                reserved: 1,
                first_sends: 2,
                sends: 3,
                bounced: 4,
            },
            totals: totals(account_id, id),
            delivery: delivery(&enrollments[0], credential.id),
            former: former_addresses::Model {
                account_id,
                enrollment_id: enrollments[0].id,
                email: contacts[0].email.clone(),
                email_key: contacts[0].email.clone(),
            },
            skip: enrollment_skips::Model {
                id: new_id(),
                account_id,
                campaign_id: id,
                contact_id: contacts[2].id,
                email: contacts[2].email.clone(),
                kind: SkipKind::MxInvalid,
                reason: "no MX record".into(),
                created_at: THEN,
            },
            job: job(id, &import),
            test_message: test_message(&credential),
            webhook_attempt: told::webhook_attempt(&webhook_delivery),
            webhook_delivery,
            webhook,
            subscription: subscription(account_id),
            parked: parked_mail(&mailbox),
            mailbox,
            chunk: chunk(&upload),
            upload,
            import,
            contacts,
            outreach,
            campaign,
            credential,
            batches,
            enrollments,
        }
    }

    /// Gives the credential passwords, and the webhook a secret, that can be opened.
    pub fn seal_passwords(&mut self, sealer: &Sealer) {
        let (account, row) = (self.account_id, self.credential.id);
        self.credential.smtp_password = sealer.seal(&smtp_password_place(account, row), b"secret");
        self.credential.imap_password = Some(sealer.seal(&imap_password_place(account, row), b"secret"));
        let secret = crypto::WebhookSecret::generate().to_text();
        let place = secret_place(account, self.webhook.id);
        self.webhook.secret = sealer.seal(&place, secret.expose().as_bytes());
    }

    /// Stores them all, parents first.
    pub async fn store(&self, db: &DatabaseConnection) {
        self.store_parents(db).await.unwrap();
        for batch in &self.batches {
            insert(db, batch).await.unwrap();
        }
        for enrollment in &self.enrollments {
            insert(db, enrollment).await.unwrap();
        }
        insert(db, &self.delivery).await.unwrap();
        insert(db, &self.former).await.unwrap();
        insert(db, &self.skip).await.unwrap();
        insert(db, &self.job).await.unwrap();
        insert(db, &self.test_message).await.unwrap();
        insert(db, &self.webhook).await.unwrap();
        insert(db, &self.webhook_delivery).await.unwrap();
        insert(db, &self.webhook_attempt).await.unwrap();
        insert(db, &self.subscription).await.unwrap();
        // Several sets of rows of one account share their mailbox's name.
        if insert(db, &self.mailbox).await.is_ok() {
            insert(db, &self.parked).await.unwrap();
        }
    }

    async fn store_parents(&self, db: &DatabaseConnection) -> Result<(), DbErr> {
        insert(db, &self.api_key).await?;
        insert(db, &self.suppression).await?;
        insert(db, &self.import).await?;
        insert(db, &self.upload).await?;
        insert(db, &self.chunk).await?;
        for contact in &self.contacts {
            insert(db, contact).await?;
        }
        insert(db, &self.outreach).await?;
        insert(db, &self.campaign).await?;
        insert(db, &self.step).await?;
        insert(db, &self.credential).await?;
        insert(db, &self.day).await?;
        insert(db, &self.totals).await
    }
}

fn api_key(account_id: Uuid) -> api_keys::Model {
    api_keys::Model {
        id: new_id(),
        account_id,
        digest: crypto::random_bytes::<32>().to_vec(),
        prefix: "ak_live_abcd".into(),
        label: "a key".into(),
        client_kind: ClientKind::Mcp,
        last_used_at: Some(THEN),
        created_at: THEN,
        revoked_at: None,
    }
}

fn import(account_id: Uuid) -> contact_imports::Model {
    contact_imports::Model {
        id: new_id(),
        account_id,
        name: "an import".into(),
        status: JobStatus::Completed,
        record_count: 3,
        contact_count: 2,
        processed_rows: 7,
        skipped: 4,
        invalid_count: 5,
        invalid: Some(json!([{ "index": 1, "email": null, "message": "Email can't be blank" }])),
        failure: Some("a reason".into()),
        created_at: THEN,
        deleted_at: None,
    }
}

fn upload(import: &contact_imports::Model) -> import_uploads::Model {
    import_uploads::Model {
        id: new_id(),
        account_id: import.account_id,
        contact_import_id: Some(import.id),
        columns: json!(["email", "größe"]),
        bytes: 5_000_000_000,
        position: 4_000_000_000,
        created_at: THEN,
    }
}

fn chunk(upload: &import_uploads::Model) -> import_chunks::Model {
    import_chunks::Model {
        account_id: upload.account_id,
        import_upload_id: upload.id,
        number: 7_629,
        body: vec![0, 255, 10],
    }
}

fn contact(import: &contact_imports::Model) -> contacts::Model {
    let id = new_id();
    let email = format!("{}@example.com", id.simple());
    contacts::Model {
        id,
        account_id: import.account_id,
        contact_import_id: import.id,
        email_key: Some(email.clone()),
        email,
        first_name: Some("Zoë".into()),
        last_name: Some("O'Neil".into()),
        company: Some("Ampère \"&\" Sons".into()),
        custom: Some(json!({"seats": 3, "city": "Łódź", "trial": true})),
        unsubscribed_at: None,
        created_at: THEN,
        deleted_at: None,
    }
}

fn outreach(account_id: Uuid) -> outreaches::Model {
    outreaches::Model {
        id: new_id(),
        account_id,
        name: "an outreach".into(),
        unique_contacts: false,
        created_at: THEN,
    }
}

fn campaign(outreach: &outreaches::Model) -> campaigns::Model {
    campaigns::Model {
        id: new_id(),
        account_id: outreach.account_id,
        outreach_id: Some(outreach.id),
        name: "a campaign".into(),
        status: CampaignStatus::Active,
        min_wait_seconds: 1,
        max_wait_seconds: 2,
        verify_email_mx: false,
        bounce_rate_threshold: 8.25,
        created_at: THEN,
        deleted_at: None,
    }
}

fn step(campaign: &campaigns::Model) -> sequence_steps::Model {
    sequence_steps::Model {
        id: new_id(),
        account_id: campaign.account_id,
        campaign_id: campaign.id,
        position: 1,
        subject: "Hello {{first_name}}".into(),
        body_html: "<p>Hello</p>".into(),
        body_text: Some("Hello".into()),
        delay_minutes: 5,
        created_at: THEN,
    }
}

fn credential(campaign: &campaigns::Model) -> smtp_credentials::Model {
    smtp_credentials::Model {
        id: new_id(),
        account_id: campaign.account_id,
        campaign_id: campaign.id,
        label: Some("a lane".into()),
        smtp_host: "127.0.0.1".into(),
        smtp_port: 1,
        smtp_username: "user".into(),
        smtp_password: vec![0, 255, 1],
        from_name: "Sender".into(),
        from_email: "sender@example.com".into(),
        daily_limit: 100,
        imap_host: Some("127.0.0.1".into()),
        imap_port: Some(1),
        imap_username: Some("user".into()),
        imap_password: Some(vec![1, 0, 255]),
        enabled_at: THEN,
        disabled_at: None,
        disabled_reason: None,
        next_send_at: THEN,
        wake_at: Some(THEN),
        holder: None,
        failures: 3,
        created_at: THEN,
        deleted_at: None,
    }
}

const fn totals(account_id: Uuid, campaign_id: Uuid) -> campaign_totals::Model {
    campaign_totals::Model {
        campaign_id,
        account_id,
        pending: 2,
        sent: 0,
        opened: 3,
        replied: 4,
        bounced: 5,
        unsubscribed: 6,
        sent_or_bounced: 7,
        uncertain: 1,
        mx_invalid: 1,
        cross_campaign: 8,
    }
}

fn batch(campaign: &campaigns::Model, number: i32, dispatched: Option<Timestamp>) -> batches::Model {
    batches::Model {
        id: new_id(),
        account_id: campaign.account_id,
        campaign_id: campaign.id,
        batch_number: number,
        dispatched_at: dispatched,
        due_at: dispatched,
        drained: dispatched.is_some(),
        undispatched: i64::from(dispatched.is_none()),
        pending: 1,
        sent: 2,
        opened: 3,
        replied: 4,
        bounced: 5,
        unsubscribed: 6,
        created_at: THEN,
    }
}

fn enrollment(
    contact: &contacts::Model,
    batch: &batches::Model,
    lane: Option<Uuid>,
    progress: Progress,
) -> enrollments::Model {
    enrollments::Model {
        id: new_id(),
        account_id: batch.account_id,
        campaign_id: batch.campaign_id,
        contact_id: contact.id,
        batch_id: batch.id,
        batch_number: batch.batch_number,
        priority: 1,
        smtp_credential_id: lane,
        lane_moved: lane.is_some(),
        status: EnrollmentStatus::Pending,
        progress,
        next_position: 1,
        current_step: 0,
        due_at: lane.map(|_| THEN),
        retrying: lane.is_some(),
        sent_at: None,
        opened_at: None,
        replied_at: None,
        bounced_at: None,
        unsubscribed_at: None,
        bounce_reason: None,
        auto_replied_at: Some(THEN),
        process_id: None,
        created_at: THEN,
    }
}

fn delivery(enrollment: &enrollments::Model, lane: Uuid) -> deliveries::Model {
    let id = new_id();
    deliveries::Model {
        id,
        account_id: enrollment.account_id,
        campaign_id: enrollment.campaign_id,
        enrollment_id: enrollment.id,
        smtp_credential_id: lane,
        position: 1,
        state: DeliveryState::Uncertain,
        attempts: 1,
        resend: false,
        message_id: format!("{}@example.com", id.simple()),
        provider_message_id: Some("0100-ses".into()),
        smtp_reply: Some("250 ok".into()),
        token: Some(new_id()),
        process_id: Some(new_id()),
        reserved_period: None,
        reserved_day: None,
        sent_at: None,
        created_at: THEN,
        heard: Some(Heard::Failed),
    }
}

fn job(campaign_id: Uuid, import: &contact_imports::Model) -> enroll_jobs::Model {
    enroll_jobs::Model {
        id: new_id(),
        account_id: import.account_id,
        campaign_id,
        contact_import_id: import.id,
        batch_size: 50,
        status: JobStatus::Completed,
        position: Some(new_id()),
        processed: 3,
        enrolled: 2,
        skipped_count: 1,
        batch_number: 1,
        batches: 2,
        created_at: THEN,
    }
}

fn test_message(credential: &smtp_credentials::Model) -> test_messages::Model {
    test_messages::Model {
        id: new_id(),
        account_id: credential.account_id,
        campaign_id: credential.campaign_id,
        smtp_credential_id: credential.id,
        email: "test@example.com".into(),
        position: 1,
        state: TestState::Failed,
        message_id: "1@example.com".into(),
        smtp_reply: Some("550 no".into()),
        reserved_period: Some(THEN),
        locked_until: THEN,
        run_id: None,
        created_at: THEN,
    }
}

fn mailbox(credential: &smtp_credentials::Model) -> mailboxes::Model {
    mailboxes::Model {
        id: new_id(),
        account_id: credential.account_id,
        host: credential.imap_host.clone().unwrap(),
        port: credential.imap_port.unwrap(),
        username: credential.imap_username.clone().unwrap(),
        uid_validity: Some(4_000_000_000),
        last_uid: 3_000_000_000,
        next_poll_at: THEN,
        last_read_at: Some(THEN),
        failures: 1,
        last_error: Some("timeout".into()),
        process_id: Some(new_id()),
        lease_token: Some(new_id()),
        leased_until: Some(THEN),
        created_at: THEN,
    }
}

fn parked_mail(mailbox: &mailboxes::Model) -> parked_mails::Model {
    parked_mails::Model {
        id: new_id(),
        account_id: mailbox.account_id,
        mailbox_id: mailbox.id,
        uid_validity: 4_000_000_000,
        uid: 17,
        failures: 3,
        last_error: "protocol_failed".into(),
        parked_at: Some(THEN),
        created_at: THEN,
    }
}

/// One that gives nothing.
fn subscription(account_id: Uuid) -> subscriptions::Model {
    let id = new_id();
    subscriptions::Model {
        id,
        account_id,
        stripe_id: format!("sub_{}", id.simple()),
        status: "incomplete".into(),
        price_id: Some("price_1".into()),
        item_id: Some("si_1".into()),
        period_start: Some(THEN),
        period_end: Some(Timestamp(THEN.0 + 1)),
        ended_at: Some(THEN),
        subscribed_at: THEN,
        fetches_begun: 5_000_000_000,
        fetch_stored: 4_999_999_999,
        created_at: THEN,
    }
}
