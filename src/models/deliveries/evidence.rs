//! What came back for a delivery, and what that proves: a machine's answer, that it arrived; a notice, that it did not.
//! An uncertain delivery is settled by it, and one that is being sent when it would become so. The one account of it: whoever
//! hears something of a delivery calls this.

use sea_orm::{
    DbErr,
    entity::prelude::{DeriveActiveEnum, EnumIter},
};
use uuid::Uuid;

use super::{Model, Resolution, resolve};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    errors::{ApiResult, Code},
    models::{
        enrollments::{self, Stop},
        periods,
        states::DeliveryState,
        suppressions,
    },
    tenancy::Scope,
};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It was taken: a machine answered, or a server says that it is still trying.
    Arrived,
    /// The contact answered.
    Replied,
    /// It came back.
    Failed {
        /// What the notice says, at most 500 bytes.
        reason: String,
    },
}

/// What came back for a delivery that is being sent, kept for the ledger until its outcome is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Heard {
    /// Something that proves that it arrived.
    #[sea_orm(string_value = "arrived")]
    Arrived,
    /// A notice that it did not.
    #[sea_orm(string_value = "failed")]
    Failed,
}

impl Heard {
    const fn by(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Arrived | Evidence::Replied => Self::Arrived,
            Evidence::Failed { .. } => Self::Failed,
        }
    }
}

/// Notes what came back for a delivery; nothing that is known already is counted again.
///
/// # Errors
/// What the database refuses.
pub async fn note(scope: &Scope, known: &Model, evidence: Evidence, now: Timestamp) -> ApiResult<()> {
    if is_open(known.state) {
        // The server took it, or nothing could have come back.
        match resolve(scope, known, Resolution::Sent, now).await {
            // Its rows are locked, in their order: it is being sent, or somebody else has settled it meanwhile.
            Err(error) if error.code == Code::Unprocessable => {
                keep(scope, known.id, Heard::by(&evidence)).await?;
            }
            settled => drop(settled?),
        }
    }
    match evidence {
        Evidence::Arrived => Ok(()),
        Evidence::Replied => enrollments::stop_one(scope, known.enrollment_id, Stop::Replied, now).await,
        Evidence::Failed { reason } => {
            // First, for it locks the campaign: what is below it comes after, as in the ledger.
            let stop = Stop::Bounced { position: known.position, reason };
            enrollments::stop_one(scope, known.enrollment_id, stop, now).await?;
            Ok(count_bounce(scope, known.id, known.smtp_credential_id).await?)
        }
    }
}

/// Whether it may be uncertain, or become so: a delivery that was being sent when it was read need not be so any more.
const fn is_open(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Sending | DeliveryState::Uncertain)
}

/// Leaves word for the ledger, which settles the delivery by it if no outcome comes. A notice is the last word.
async fn keep(scope: &Scope, delivery_id: Uuid, heard: Heard) -> Result<(), DbErr> {
    let sql = "UPDATE deliveries SET heard = CASE WHEN heard = 'failed' THEN heard ELSE $3 END \
               WHERE account_id = $1 AND id = $2 AND state = 'sending'";
    scope.execute(sql, [delivery_id.into(), heard.into()]).await.map(drop)
}

/// Unsubscribes an address for good: by a complaint or a provider's report, which also prove that the delivery they name
/// arrived. Where that is uncertain, or may be, its send is settled, and periods are locked before the campaigns that are stopped.
///
/// # Errors
/// What the database refuses.
pub async fn note_unsubscribed(
    scope: &Scope,
    key: &SuppressionKey,
    email: &str,
    known: Option<&Model>,
    now: Timestamp,
) -> ApiResult<()> {
    let settles = known.is_some_and(|delivery| is_open(delivery.state));
    // The account's addresses come before every other lock.
    if settles && suppressions::hold_addresses(scope).await? {
        periods::hold_all(scope).await?;
    }
    suppressions::unsubscribe(scope, key, email, now).await?;
    match known {
        Some(delivery) => note(scope, delivery, Evidence::Arrived, now).await,
        None => Ok(()),
    }
}

/// A message that was accepted bounced after all: it weighs in the health of the day on which it was sent,
/// unless its lane was enabled anew since then. Of any other nothing is counted.
///
/// # Errors
/// What the database refuses.
pub async fn count_bounce(scope: &Scope, delivery_id: Uuid, credential_id: Uuid) -> Result<(), DbErr> {
    let sql = "UPDATE deliveries SET state = 'bounced' WHERE account_id = $1 AND id = $2 AND state = 'sent' \
               RETURNING sent_at";
    let Some(row) = scope.query_one(sql, [delivery_id.into()]).await? else { return Ok(()) };
    let Some(sent_at) = row.try_get::<Option<Timestamp>>("", "sent_at")? else { return Ok(()) };
    // The primary key of credential_days. There is no row yet where the message was claimed before midnight and accepted
    // after it, and nothing was claimed since.
    let sql = "INSERT INTO credential_days (account_id, smtp_credential_id, day, bounced) \
               SELECT s.account_id, s.id, $3, 1 FROM smtp_credentials s \
               WHERE s.account_id = $1 AND s.id = $2 AND s.enabled_at <= $4 \
               ON CONFLICT (smtp_credential_id, day) DO UPDATE SET bounced = credential_days.bounced + 1";
    let values = [credential_id.into(), sent_at.day().into(), sent_at.micros().into()];
    scope.execute(sql, values).await?;
    Ok(())
}
