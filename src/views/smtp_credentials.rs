//! SMTP credentials as their owner sees them: never a password.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        mailboxes::Reading,
        smtp_credentials::{Model, days::Standing},
    },
};

/// Rounded to one decimal, as every rate is shown.
pub fn one_decimal(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// What creating a credential answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NewCredential {
    id: Uuid,
    label: Option<String>,
    from_email: String,
    from_name: String,
    smtp_host: String,
    smtp_port: i32,
    daily_limit: i32,
}

impl From<Model> for NewCredential {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            label: row.label,
            from_email: row.from_email,
            from_name: row.from_name,
            smtp_host: row.smtp_host,
            smtp_port: row.smtp_port,
            daily_limit: row.daily_limit,
        }
    }
}

/// A credential with what it did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Credential {
    id: Uuid,
    label: Option<String>,
    from_email: String,
    from_name: String,
    smtp_host: String,
    smtp_port: i32,
    smtp_username: String,
    daily_limit: i32,
    imap_host: Option<String>,
    imap_port: Option<i32>,
    imap_username: Option<String>,
    /// Why the mailbox could not be read the last time, in the words of `verify`.
    imap_error: Option<String>,
    /// When it was last read to its end.
    imap_read_at: Option<Timestamp>,
    sent_today: i64,
    bounce_rate: f64,
    disabled_at: Option<Timestamp>,
    disabled_reason: Option<String>,
    created_at: Timestamp,
}

impl Credential {
    /// Shows a credential.
    pub fn new(row: Model, standing: Standing, mailbox: Option<&Reading>) -> Self {
        let Model {
            id,
            account_id: _,
            campaign_id: _,
            label,
            smtp_host,
            smtp_port,
            smtp_username,
            smtp_password: _,
            from_name,
            from_email,
            daily_limit,
            imap_host,
            imap_port,
            imap_username,
            imap_password: _,
            enabled_at: _,
            disabled_at,
            disabled_reason,
            next_send_at: _,
            wake_at: _,
            holder: _,
            failures: _,
            created_at,
            deleted_at: _,
        } = row;
        Self {
            id,
            label,
            from_email,
            from_name,
            smtp_host,
            smtp_port,
            smtp_username,
            daily_limit,
            imap_host,
            imap_port,
            imap_username,
            imap_error: mailbox.and_then(|mailbox| mailbox.error.clone()),
            imap_read_at: mailbox.and_then(|mailbox| mailbox.read_at),
            sent_today: standing.sent_today,
            bounce_rate: one_decimal(standing.bounce_rate()),
            disabled_at,
            disabled_reason,
            created_at,
        }
    }
}

/// A credential on its campaign's page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CredentialSummary {
    id: Uuid,
    label: Option<String>,
    from_email: String,
    daily_limit: i32,
    sent_today: i64,
    bounce_rate: f64,
    disabled_at: Option<Timestamp>,
}

impl CredentialSummary {
    /// Shows a credential in short.
    pub fn new(row: Model, standing: Standing) -> Self {
        Self {
            id: row.id,
            label: row.label,
            from_email: row.from_email,
            daily_limit: row.daily_limit,
            sent_today: standing.sent_today,
            bounce_rate: one_decimal(standing.bounce_rate()),
            disabled_at: row.disabled_at,
        }
    }
}

/// What enabling a credential again answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Enabled {
    id: Uuid,
    from_email: String,
    status: &'static str,
}

impl From<Model> for Enabled {
    fn from(row: Model) -> Self {
        Self { id: row.id, from_email: row.from_email, status: "enabled" }
    }
}
