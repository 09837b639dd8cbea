//! Campaigns and imports to enroll, in both accounts alike.

use std::{net::IpAddr, sync::Arc};

use ampout::{
    net::{
        MxCheck,
        resolve::{Dns, DnsError},
    },
    state::AppState,
};
use async_trait::async_trait;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{Client, World};

/// The id in a body, or in one of its fields.
pub fn id_of(body: &Json) -> Uuid {
    body["id"].as_str().unwrap().parse().unwrap()
}

/// A campaign of two steps with one lane; `extra` replaces fields.
pub fn new_campaign(extra: &Json) -> Json {
    let mut campaign = json!({
        "name": "Spring", "min_wait_seconds": 60, "max_wait_seconds": 60,
        "smtp_credentials": [{
            "smtp_host": "127.0.0.1", "smtp_port": 2525, "smtp_username": "user", "smtp_password": "secret",
            "from_name": "Ann", "from_email": "ann@sender.example", "daily_limit": 50,
        }],
        "sequence_steps": [
            { "position": 1, "subject": "Hello", "body_html": "<p>Hi</p>" },
            { "position": 2, "subject": "Again", "body_html": "<p>Hi again</p>", "delay_minutes": 60 },
        ],
    });
    for (name, value) in extra.as_object().unwrap() {
        campaign[name] = value.clone();
    }
    json!({ "campaign": campaign })
}

impl Client {
    /// Makes a campaign.
    pub async fn campaign(&self, extra: &Json) -> Uuid {
        id_of(&self.made("/campaigns", &new_campaign(extra)).await)
    }

    /// Enrolls an import that must be small.
    pub async fn enroll(&self, campaign: Uuid, import: Uuid, batch_size: i64) -> Json {
        let body = json!({ "contact_import_id": import, "batch_size": batch_size });
        self.made(&format!("/campaigns/{campaign}/enroll"), &body).await
    }
}

impl World {
    /// An import of `count` contacts `c0@…` of an account, written behind the API.
    pub async fn import(&self, owner: &Client, count: usize, domain: &str) -> Uuid {
        let account: Uuid = owner.account_id.parse().unwrap();
        let import = Uuid::now_v7();
        self.sql(
            "INSERT INTO contact_imports (id, account_id, name, status, record_count, created_at) \
             VALUES ($1, $2, 'List', 'completed', $3, 0)",
            [import.into(), account.into(), i64::try_from(count).unwrap().into()],
        )
        .await;
        for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
            let mut values: Vec<sea_orm::Value> = vec![account.into(), import.into()];
            let mut rows = vec![];
            for number in chunk {
                let email = format!("c{number}@{domain}");
                values.extend([Uuid::now_v7().into(), email.into()]);
                let hole = values.len();
                rows.push(format!("(${}, $1, $2, ${hole}, ${hole}, 0)", hole - 1));
            }
            let sql = format!(
                "INSERT INTO contacts (id, account_id, contact_import_id, email, email_key, created_at) VALUES {}",
                rows.join(",")
            );
            self.sql(&sql, values).await;
        }
        import
    }

    /// The contacts of an import, in the order of their ids.
    pub async fn contacts_of(&self, import: Uuid) -> Vec<Uuid> {
        self.ids("SELECT id FROM contacts WHERE contact_import_id = $1 ORDER BY id", [import.into()]).await
    }

    /// Has the DNS of this world know nothing: no domain takes mail, but those of `.example`.
    pub fn with_dns_that_knows_only_example(&self) {
        let state = self.state();
        let mx = MxCheck::new(Arc::new(OnlyExample));
        self.ctx.shared_store.insert(AppState { mx, ..state });
    }
}

struct OnlyExample;

#[async_trait]
impl Dns for OnlyExample {
    async fn addresses(&self, _name: &str) -> Result<Vec<IpAddr>, DnsError> {
        Err(DnsError::NoSuchName)
    }

    async fn mail_exchangers(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        // A real one does not answer at once either.
        tokio::task::yield_now().await;
        match domain.rsplit('.').next() {
            Some("example") => Ok(vec![format!("mx.{domain}")]),
            Some("test") => Err(DnsError::Failed),
            _ => Err(DnsError::NoSuchName),
        }
    }
}
