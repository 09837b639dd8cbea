//! What came back for a delivery, and what that proves: a machine's answer, that it arrived; a notice, that it did not.
//! An uncertain delivery is settled by it. The one account of it: whoever hears something of a delivery calls this.

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

/// Notes what came back for a delivery; nothing that is known already is counted again.
///
/// # Errors
/// What the database refuses.
pub async fn note(scope: &Scope, known: &Model, evidence: Evidence, now: Timestamp) -> ApiResult<()> {
    if known.state == DeliveryState::Uncertain {
        // The server took it, or nothing could have come back. Somebody else may have settled it meanwhile.
        match resolve(scope, known, Resolution::Sent, now).await {
            Err(error) if error.code == Code::Unprocessable => {}
            settled => drop(settled?),
        }
    }
    match evidence {
        Evidence::Arrived => Ok(()),
        Evidence::Replied => enrollments::stop_one(scope, known.enrollment_id, Stop::Replied, now).await,
        Evidence::Failed { reason } => {
            // First, for it locks the campaign: what is below it comes after, as in the ledger.
            enrollments::stop_one(scope, known.enrollment_id, Stop::Bounced { reason }, now).await?;
            count_bounce(scope, known).await
        }
    }
}

/// Unsubscribes an address for good: by a complaint or a provider's report, which also prove that the delivery they name
/// arrived. Where that is uncertain, its send is settled, and periods are locked before the campaigns that are stopped.
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
    let settles = known.is_some_and(|delivery| delivery.state == DeliveryState::Uncertain);
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
/// unless its lane was enabled anew since then.
async fn count_bounce(scope: &Scope, known: &Model) -> ApiResult<()> {
    let sql = "UPDATE deliveries SET state = 'bounced' WHERE account_id = $1 AND id = $2 AND state = 'sent' \
               RETURNING sent_at";
    let Some(row) = scope.query_one(sql, [known.id.into()]).await? else { return Ok(()) };
    let Some(sent_at) = row.try_get::<Option<Timestamp>>("", "sent_at")? else { return Ok(()) };
    // The primary key of credential_days. There is no row yet where the message was claimed before midnight and accepted
    // after it, and nothing was claimed since.
    let sql = "INSERT INTO credential_days (account_id, smtp_credential_id, day, bounced) \
               SELECT s.account_id, s.id, $3, 1 FROM smtp_credentials s \
               WHERE s.account_id = $1 AND s.id = $2 AND s.enabled_at <= $4 \
               ON CONFLICT (smtp_credential_id, day) DO UPDATE SET bounced = credential_days.bounced + 1";
    let values = [known.smtp_credential_id.into(), sent_at.day().into(), sent_at.micros().into()];
    scope.execute(sql, values).await?;
    Ok(())
}
