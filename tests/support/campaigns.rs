//! Campaigns to test with.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, World};

/// A credential that leads nowhere.
pub fn credential() -> Value {
    json!({
        "label": "Main", "smtp_host": "127.0.0.1", "smtp_port": 2525, "smtp_username": "user",
        "smtp_password": "hunter2-smtp", "from_name": "Ana", "from_email": "ana@sender.example",
        "daily_limit": 100
    })
}

/// The same with a mailbox.
pub fn credential_with_imap() -> Value {
    let mut one = credential();
    one["imap_host"] = json!("127.0.0.1");
    one["imap_port"] = json!(1143);
    one["imap_username"] = json!("reader");
    one["imap_password"] = json!("hunter2-imap");
    one
}

/// A step that names its contact.
pub fn step(position: i64) -> Value {
    json!({
        "position": position, "subject": format!("Hi {{{{first_name}}}} {position}"),
        "body_html": "<p>Hello {{ first_name | default: \"there\" }}</p>"
    })
}

/// A campaign's body with one credential and two steps, the second a day later.
pub fn campaign(name: &str) -> Value {
    let mut second = step(2);
    second["delay_minutes"] = json!(1440);
    json!({"campaign": {"name": name, "smtp_credentials": [credential()], "sequence_steps": [step(1), second]}})
}

impl Client {
    /// Makes [`campaign`] and gives its id.
    pub async fn campaign_named(&self, name: &str) -> String {
        self.made("/campaigns", &campaign(name)).await["id"].as_str().unwrap().to_owned()
    }

    /// The id of the first credential of a campaign.
    pub async fn credential_of(&self, campaign: &str) -> String {
        let list = self.seen(&format!("/campaigns/{campaign}/smtp_credentials")).await;
        list[0]["id"].as_str().unwrap().to_owned()
    }
}

/// A contact of an account, whose first name is markup and whose city is Bern.
pub async fn contact(world: &World, owner: &Client, email: &str) -> Uuid {
    let (import, contact): (Uuid, Uuid) = (Uuid::now_v7(), Uuid::now_v7());
    let account = owner.account_id.parse::<Uuid>().unwrap();
    world
        .sql(
            "INSERT INTO contact_imports (id, account_id, name, status, created_at) VALUES ($1, $2, 'i', 'completed', 0)",
            [import.into(), account.into()],
        )
        .await;
    world
        .sql(
            "INSERT INTO contacts (id, account_id, contact_import_id, email, email_key, first_name, custom, created_at) \
             VALUES ($1, $2, $3, $4, $4, '<b>Jo</b>', $5, 0)",
            [contact.into(), account.into(), import.into(), email.into(), json!({"city": "Bern"}).into()],
        )
        .await;
    contact
}

/// Stores an enrollment behind the API: where it stands, its next step, when it is due.
pub async fn enroll(
    world: &World,
    campaign: &str,
    batch: Uuid,
    email: &str,
    progress: &str,
    next: i32,
    due: Option<i64>,
) {
    let person = contact(world, &world.alice, email).await;
    let lane = world.alice.credential_of(campaign).await;
    world.sql(
        "INSERT INTO enrollments (id, account_id, campaign_id, contact_id, batch_id, batch_number, smtp_credential_id, \
         status, progress, next_position, due_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, (SELECT batch_number FROM batches WHERE id = $5), $6, 'pending', $7, $8, \
         $9, 0)",
        [
            Uuid::now_v7().into(),
            world.alice.account_id.parse::<Uuid>().unwrap().into(),
            campaign.parse::<Uuid>().unwrap().into(),
            person.into(),
            batch.into(),
            lane.parse::<Uuid>().unwrap().into(),
            progress.into(),
            next.into(),
            due.into(),
        ],
    )
    .await;
}
