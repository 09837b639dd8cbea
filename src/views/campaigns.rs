//! Campaigns as their owner sees them.

use serde::Serialize;
use uuid::Uuid;

use super::smtp_credentials::{CredentialSummary, one_decimal};
use crate::{
    clock::Timestamp,
    models::{
        campaigns::{
            Model,
            overview::{self, Counters, Overview},
        },
        sequence_steps,
        smtp_credentials::{self, days::percent},
        states::CampaignStatus,
    },
};

/// What creating, pausing and resuming answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CampaignState {
    id: Uuid,
    status: CampaignStatus,
}

impl From<Model> for CampaignState {
    fn from(row: Model) -> Self {
        Self { id: row.id, status: row.status }
    }
}

/// A campaign in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CampaignSummary {
    id: Uuid,
    name: String,
    status: CampaignStatus,
    created_at: Timestamp,
}

impl From<Model> for CampaignSummary {
    fn from(row: Model) -> Self {
        Self { id: row.id, name: row.name, status: row.status, created_at: row.created_at }
    }
}

/// A campaign whole.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Campaign {
    id: Uuid,
    name: String,
    status: CampaignStatus,
    outreach_id: Option<Uuid>,
    min_wait_seconds: i32,
    max_wait_seconds: i32,
    verify_email_mx: bool,
    bounce_rate_threshold: f64,
    created_at: Timestamp,
    sequence_steps: Vec<Step>,
    totals: Totals,
    rates: Rates,
    per_batch: Vec<Batch>,
    recent_bounces: Vec<Bounce>,
    credentials: Vec<CredentialSummary>,
    skipped: Skipped,
    uncertain: i64,
}

impl From<Overview> for Campaign {
    fn from(page: Overview) -> Self {
        let Overview { row, steps, counters, batches, bounces, credentials, standings } = page;
        let Model {
            id,
            account_id: _,
            outreach_id,
            name,
            status,
            min_wait_seconds,
            max_wait_seconds,
            verify_email_mx,
            bounce_rate_threshold,
            created_at,
            deleted_at: _,
        } = row;
        let summary = |row: smtp_credentials::Model| {
            let standing = standings.get(&row.id).copied().unwrap_or_default();
            CredentialSummary::new(row, standing)
        };
        Self {
            id,
            name,
            status,
            outreach_id,
            min_wait_seconds,
            max_wait_seconds,
            verify_email_mx,
            bounce_rate_threshold,
            created_at,
            sequence_steps: steps.into_iter().map(Step::from).collect(),
            totals: counters.totals.into(),
            rates: Rates::of(&counters),
            per_batch: batches
                .into_iter()
                .map(|(batch_number, totals)| Batch { batch_number, totals: totals.into() })
                .collect(),
            recent_bounces: bounces.into_iter().map(Bounce::from).collect(),
            credentials: credentials.into_iter().map(summary).collect(),
            skipped: Skipped {
                mx_invalid: counters.mx_invalid,
                cross_campaign_duplicate: counters.cross_campaign,
            },
            uncertain: counters.uncertain,
        }
    }
}

/// A step as it is stored.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Step {
    id: Uuid,
    position: i32,
    subject: String,
    body_html: String,
    body_text: Option<String>,
    delay_minutes: i32,
}

impl From<sequence_steps::Model> for Step {
    fn from(row: sequence_steps::Model) -> Self {
        let sequence_steps::Model {
            id,
            account_id: _,
            campaign_id: _,
            position,
            subject,
            body_html,
            body_text,
            delay_minutes,
            created_at: _,
        } = row;
        Self { id, position, subject, body_html, body_text, delay_minutes }
    }
}

/// Enrollments by what happened to them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Totals {
    pending: i64,
    sent: i64,
    opened: i64,
    replied: i64,
    bounced: i64,
    unsubscribed: i64,
}

impl From<overview::Totals> for Totals {
    fn from(totals: overview::Totals) -> Self {
        let overview::Totals { pending, sent, opened, replied, bounced, unsubscribed } = totals;
        Self { pending, sent, opened, replied, bounced, unsubscribed }
    }
}

/// Percent, to one decimal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
struct Rates {
    open_rate: f64,
    reply_rate: f64,
    bounce_rate: f64,
}

impl Rates {
    fn of(counters: &Counters) -> Self {
        let totals = &counters.totals;
        Self {
            open_rate: one_decimal(percent(totals.opened, totals.sent)),
            reply_rate: one_decimal(percent(totals.replied, totals.sent)),
            bounce_rate: one_decimal(percent(totals.bounced, counters.sent_or_bounced)),
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Batch {
    batch_number: i32,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
struct Bounce {
    enrollment_id: Uuid,
    contact_id: Uuid,
    email: String,
    bounce_reason: Option<String>,
    bounced_at: Timestamp,
}

impl From<overview::Bounce> for Bounce {
    fn from(bounce: overview::Bounce) -> Self {
        let overview::Bounce { enrollment_id, contact_id, email, bounce_reason, bounced_at } = bounce;
        Self { enrollment_id, contact_id, email, bounce_reason, bounced_at }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Skipped {
    mx_invalid: i64,
    cross_campaign_duplicate: i64,
}
