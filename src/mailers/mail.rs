//! What owners are told, and how it is stored. A mail carries what was true at the event; nothing in it is secret, and
//! nothing in the first one was chosen by whoever signed up, who may have given somebody else's address.

use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    jobs::{Job, enqueue_on},
    tenancy::Scope,
};

/// The class name of the worker that sends.
pub(crate) const SENDING: &str = "SendSystemMail";

/// Tries before a mail is given up: with the queue's waits, about a day.
const ATTEMPTS: i32 = 35;

/// One mail to the owner of an account. The name of a variant in snake case is the folder of its templates, which are
/// handed its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Mail {
    /// The account was made.
    Welcome,
    /// A credential was disabled.
    CredentialDisabled {
        /// The credential.
        smtp_credential_id: Uuid,
        /// The sender's address.
        from_email: String,
        /// The campaign.
        campaign_id: Uuid,
        /// Its name.
        campaign: String,
        /// `auth`, `policy` or `bounce_rate`.
        reason: String,
        /// In percent, one decimal.
        bounce_rate: f64,
        /// What the campaign allows, in percent.
        bounce_rate_threshold: f64,
        /// Whether the campaign has no other that may send.
        last: bool,
        /// When.
        disabled_at: Timestamp,
    },
    /// A campaign was paused because none of its credentials may send.
    CampaignPaused {
        /// The campaign.
        campaign_id: Uuid,
        /// Its name.
        campaign: String,
        /// When.
        paused_at: Timestamp,
    },
    /// Most or all of the period's sends are used.
    PlanUsage {
        /// The mark that was passed: 80 or 100.
        percent: i32,
        /// The period's key.
        period_start: Timestamp,
        /// When sends begin anew.
        period_end: Timestamp,
        /// Accepted messages.
        sends: i64,
        /// The most that the plan allows.
        limit: i64,
        /// The plan's name.
        plan: String,
    },
    /// An invoice could not be paid.
    PaymentFailed {
        /// Stripe's id of the invoice.
        invoice: String,
        /// The plan's slug.
        plan: String,
    },
}

/// What the job holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Names the message, the same at every try.
    pub id: Uuid,
    /// Whose owner is told.
    pub account_id: Uuid,
    /// What.
    pub mail: Mail,
}

impl Mail {
    /// The folder of its templates.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::CredentialDisabled { .. } => "credential_disabled",
            Self::CampaignPaused { .. } => "campaign_paused",
            Self::PlanUsage { .. } => "plan_usage",
            Self::PaymentFailed { .. } => "payment_failed",
        }
    }

    /// What happens once: the same event is told once, however often it is enqueued.
    fn event(&self, account: Uuid) -> String {
        match self {
            Self::Welcome => account.to_string(),
            Self::CredentialDisabled { smtp_credential_id, disabled_at, .. } => {
                format!("{smtp_credential_id}:{}", disabled_at.micros())
            }
            Self::CampaignPaused { campaign_id, paused_at, .. } => {
                format!("{campaign_id}:{}", paused_at.micros())
            }
            Self::PlanUsage { percent, period_start, .. } => {
                format!("{account}:{}:{percent}", period_start.micros())
            }
            Self::PaymentFailed { invoice, .. } => format!("{account}:{invoice}"),
        }
    }
}

/// Stores a mail to the owner of the scope's account, to be sent once the scope's transaction has committed. An event
/// that is told already is not told again, for as long as ended jobs are kept (`jobs::KEEP_COMPLETED`).
///
/// # Errors
/// What the database refuses.
pub async fn enqueue(scope: &Scope, mail: Mail) -> Result<(), DbErr> {
    let account_id = scope.account_id();
    let key = format!("mail:{}:{}", mail.name(), mail.event(account_id));
    let args = serde_json::to_value(Envelope { id: new_id(), account_id, mail })
        .map_err(|error| DbErr::Json(error.to_string()))?;
    // Behind what clients wait for: a relay that does not answer keeps a place for as long as it may.
    let job = Job { max_attempts: ATTEMPTS, priority: -1, ..Job::new(SENDING, args).unique(key) };
    enqueue_on(&scope.db(), job).await.map(drop)
}
