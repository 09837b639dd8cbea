//! Rows that a sending campaign leaves behind, made behind the API: what recipients' links point at.

use ampout::{
    clock::{Timestamp, new_id},
    crypto::SuppressionKey,
    models::{
        _entities as rows,
        states::{CampaignStatus, EnrollmentStatus, Progress},
    },
    tenancy::{Conn, Scope, SystemScope},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, World};

/// An id of an answer.
pub fn id(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

/// Imports one contact; answers its id.
pub async fn contact(client: &Client, email: &str) -> Uuid {
    import(client, &[email]).await;
    id(&client.seen(&format!("/contacts?email={email}")).await[0]["id"])
}

/// Imports contacts; answers the answer.
pub async fn import(client: &Client, emails: &[&str]) -> Value {
    let contacts: Vec<Value> = emails.iter().map(|email| json!({ "email": email })).collect();
    client.made("/contact_imports", &json!({"contact_import": {"name": "leads", "contacts": contacts}})).await
}

/// A contact that is enrolled in a campaign of its own.
pub struct Enrolled {
    pub account: Uuid,
    pub campaign: Uuid,
    pub enrollment: Uuid,
}

/// The account's data behind the API.
pub fn scope(w: &World, client: &Client) -> Scope {
    let pool = w.db().pool().clone();
    SystemScope::new(Conn::Pool(pool)).account(client.account_id.parse().unwrap())
}

/// A campaign with its counters at zero.
pub async fn campaign(w: &World, client: &Client, outreach: Option<Uuid>) -> Uuid {
    let scope = scope(w, client);
    let campaign = rows::campaigns::Model {
        id: new_id(),
        account_id: scope.account_id(),
        outreach_id: outreach,
        name: "launch".into(),
        status: CampaignStatus::Active,
        min_wait_seconds: 0,
        max_wait_seconds: 0,
        verify_email_mx: false,
        bounce_rate_threshold: 8.0,
        created_at: Timestamp::now(),
        deleted_at: None,
    };
    let id = campaign.id;
    scope.insert::<rows::campaigns::Entity>(campaign).await.unwrap();
    let sql = "INSERT INTO campaign_totals (account_id, campaign_id, pending) VALUES ($1, $2, 0)";
    scope.execute(sql, [id.into()]).await.unwrap();
    id
}

/// Enrolls a contact in a dispatched batch of a campaign.
pub async fn enroll(
    w: &World,
    client: &Client,
    campaign: Uuid,
    contact: Uuid,
    progress: Progress,
) -> Enrolled {
    let scope = scope(w, client);
    let (batch, enrollment, now) = (new_id(), new_id(), Timestamp::now());
    let sql = "INSERT INTO batches (account_id, id, campaign_id, batch_number, dispatched_at, due_at, pending, created_at) \
               VALUES ($1, $2, $3, 1, $4, $4, 1, $4)";
    scope.execute(sql, [batch.into(), campaign.into(), now.micros().into()]).await.unwrap();
    let sql = "UPDATE campaign_totals SET pending = pending + 1 WHERE account_id = $1 AND campaign_id = $2";
    scope.execute(sql, [campaign.into()]).await.unwrap();
    let row = rows::enrollments::Model {
        id: enrollment,
        account_id: scope.account_id(),
        campaign_id: campaign,
        contact_id: contact,
        batch_id: batch,
        batch_number: 1,
        priority: 0,
        smtp_credential_id: None,
        lane_moved: false,
        status: EnrollmentStatus::Pending,
        progress,
        next_position: 1,
        current_step: 0,
        due_at: None,
        retrying: false,
        sent_at: None,
        opened_at: None,
        replied_at: None,
        bounced_at: None,
        unsubscribed_at: None,
        bounce_reason: None,
        auto_replied_at: None,
        process_id: None,
        created_at: now,
    };
    scope.insert::<rows::enrollments::Entity>(row).await.unwrap();
    Enrolled { account: scope.account_id(), campaign, enrollment }
}

/// The keyed hash of an address.
pub fn hash(w: &World, account: Uuid, email: &str) -> [u8; 32] {
    let key: &SuppressionKey = &w.state().suppression_key;
    key.hash(account, email)
}

/// How many rows of a table fit.
pub async fn count(w: &World, client: &Client, from_where: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {from_where}");
    let account: Uuid = client.account_id.parse().unwrap();
    w.number(&sql, [account.into()]).await
}
