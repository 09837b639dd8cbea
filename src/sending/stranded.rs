//! Enrollments whose lane is closed for good: they wait for it for a day where it is disabled, and then another lane of
//! their campaign takes them over. Which lane takes a first step is the claim's affair.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{lanes::hold_campaign, ledger::lock_soon};
use crate::{
    clock::Timestamp,
    db::Db,
    models::smtp_credentials,
    tenancy::{Conn, SystemScope},
};

/// How long started enrollments wait for a disabled lane before they move to another, in microseconds.
const WAIT_FOR_LANE: i64 = 24 * 3_600 * 1_000_000;

/// Lanes that are closed for good and have something that another of their campaign may take, with their account and campaign.
/// Asked at every look, and most lanes are open: `ix_smtp_credentials_deleted`, `ix_smtp_credentials_disabled`, then
/// `ix_enrollments_due`.
pub const CLOSED: &str = "SELECT c.id, c.account_id, c.campaign_id FROM (\
     SELECT s.id, s.account_id, s.campaign_id FROM smtp_credentials s WHERE s.deleted_at IS NOT NULL \
     AND EXISTS (SELECT 1 FROM enrollments e WHERE e.smtp_credential_id = s.id AND e.progress = 'waiting') \
     UNION ALL SELECT s.id, s.account_id, s.campaign_id FROM smtp_credentials s \
     WHERE s.disabled_at <= $1 AND s.deleted_at IS NULL \
     AND EXISTS (SELECT 1 FROM enrollments e WHERE e.smtp_credential_id = s.id AND e.progress = 'waiting' \
         AND NOT e.lane_moved)) c \
     WHERE EXISTS (SELECT 1 FROM smtp_credentials o WHERE o.account_id = c.account_id \
         AND o.campaign_id = c.campaign_id AND o.disabled_at IS NULL AND o.deleted_at IS NULL) LIMIT 100";

/// Moves started enrollments off lanes that are deleted, or disabled for a day, to an open lane of their campaign: once
/// each, and off a deleted one again. Returns how many moved. Each lane for itself: what somebody keeps locked of one account
/// must not keep the lanes of others.
///
/// # Errors
/// What the database refuses of the first lane that it refused; all others are done.
pub async fn move_stranded(db: &Db, now: Timestamp) -> Result<u64, DbErr> {
    let lanes = SystemScope::new(Conn::Pool(db.pool().clone()))
        .query(CLOSED, [(now.micros() - WAIT_FOR_LANE).into()])
        .await?;
    let (mut moved, mut refused) = (0, Ok(()));
    for row in &lanes {
        let (lane, campaign) = (row.try_get("", "id")?, row.try_get("", "campaign_id")?);
        let account = row.try_get("", "account_id")?;
        let done = SystemScope::in_transaction(db, async |system| {
            lock_soon(system).await?;
            hold_campaign(system, campaign).await?;
            let moved = move_off(system, lane, now).await?;
            smtp_credentials::wake_lanes(&system.account(account), campaign, now).await?;
            Ok::<_, DbErr>(moved)
        });
        match done.await {
            Ok(some) => moved += some,
            Err(error) => refused = refused.and(Err(error)),
        }
    }
    refused.map(|()| moved)
}

/// Moves what may leave one lane, whose campaign is locked, in one statement of bounded size.
async fn move_off(system: &SystemScope, lane: Uuid, now: Timestamp) -> Result<u64, DbErr> {
    let other = "(SELECT o.id FROM smtp_credentials o JOIN smtp_credentials s ON s.account_id = o.account_id \
                 AND s.campaign_id = o.campaign_id \
                 WHERE s.id = $1 AND o.disabled_at IS NULL AND o.deleted_at IS NULL ORDER BY o.wake_at IS NULL, \
                 o.wake_at, o.id LIMIT 1)";
    let stranded = "SELECT e.id FROM enrollments e JOIN smtp_credentials s ON s.id = e.smtp_credential_id \
                    WHERE e.smtp_credential_id = $1 AND e.progress = 'waiting' \
                    AND (s.deleted_at IS NOT NULL OR (s.disabled_at <= $2 AND NOT e.lane_moved)) LIMIT 1000";
    let sql = format!(
        "UPDATE enrollments SET smtp_credential_id = {other}, lane_moved = true WHERE id IN ({stranded}) \
         AND EXISTS {other}"
    );
    system.execute(&sql, [lane.into(), (now.micros() - WAIT_FOR_LANE).into()]).await
}
