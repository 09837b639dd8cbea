//! Removes what was deleted. A delete marks and hides at once; here its rows go, in batches, so that no write is long.
//! What a lane holds at the moment is left for a later look, and what is uncertain counts as sent before it goes.

use std::{collections::BTreeMap, time::Duration};

use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use super::{
    accounts::erase,
    campaigns,
    deliveries::{self, spend_reservation},
    enrollments::{self, Stop, stop_contacts},
    import_uploads, periods,
    sql::{holes, uuids},
    states::{DeliveryState, EnrollmentStatus},
    tally::{Delta, Tally},
    webhook_deliveries,
};
use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    errors::ApiResult,
    tenancy::{Scope, SystemScope},
};

/// Contacts or enrollments of one transaction.
const BATCH: i64 = 200;

/// An upload that has no import after so long was broken off: its request has ended, one way or the other.
const UPLOAD_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// What belongs to a campaign beside its enrollments, in the order in which it can go.
const PARTS: [&str; 7] = [
    "enrollment_skips",
    "enroll_jobs",
    "test_messages",
    "sequence_steps",
    "batches",
    "campaign_totals",
    "smtp_credentials",
];

/// Removes one batch. `false`: nothing is left that could be removed now.
///
/// # Errors
/// What the database refuses.
pub async fn remove_some(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    Ok(remove_contacts(system, now).await?
        || import_uploads::purge(system, now.minus(UPLOAD_TIME)).await?
        || remove_imports(system).await?
        || remove_enrollments(system, now).await?
        || remove_campaigns(system).await?
        || webhook_deliveries::remove_some(system, BATCH).await?
        || erase::remove_some(system, now).await?)
}

/// Contacts that are deleted, or whose import is. `ix_contacts_deleted`,
/// `ix_contact_imports_deleted`, `ix_contacts_import`
async fn remove_contacts(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    let free = "NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.account_id = c.account_id AND e.contact_id = c.id \
                AND e.progress = 'claimed')";
    let single = format!(
        "SELECT c.account_id, c.id FROM contacts c WHERE c.deleted_at IS NOT NULL AND {free} LIMIT $1"
    );
    let of_imports = format!(
        "SELECT c.account_id, c.id FROM contact_imports i JOIN contacts c ON c.account_id = i.account_id \
         AND c.contact_import_id = i.id WHERE i.deleted_at IS NOT NULL AND {free} LIMIT $1"
    );
    let mut by_account: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for sql in [single, of_imports] {
        if by_account.is_empty() {
            for row in system.query(&sql, [BATCH.into()]).await? {
                by_account.entry(row.try_get("", "account_id")?).or_default().push(row.try_get("", "id")?);
            }
        }
    }
    // One account in a transaction: its periods come before its campaigns, and before those of another.
    if let Some((account, contacts)) = by_account.first_key_value() {
        let scope = system.account(*account);
        periods::hold_all(&scope).await?;
        // Of ended enrollments too: whoever found them a moment ago is about to lock the contact, and then them.
        let held = hold_campaigns(&scope, "contact_id", contacts).await?;
        // One of a deleted import may have been claimed while this waited for the locks: it is left to a later look.
        let sql = format!(
            "SELECT c.id FROM contacts c WHERE c.account_id = $1 AND c.id IN ({}) AND {free}",
            holes(2, contacts.len())
        );
        let rows = scope.query(&sql, uuids(contacts)).await?;
        let contacts = &rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<Uuid>, _>>()?[..];
        if contacts.is_empty() {
            return Ok(true);
        }
        stop_contacts(&scope, contacts, Stop::Deleted, now).await?;
        let sql = format!(
            "SELECT id FROM enrollments WHERE account_id = $1 AND contact_id IN ({})",
            holes(2, contacts.len())
        );
        let rows = scope.query(&sql, uuids(contacts)).await?;
        let found = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<Uuid>, _>>()?;
        drop_enrollments(&scope, &found, now).await?;
        drop_rows(&scope, "enrollment_skips", "contact_id", contacts).await?;
        drop_rows(&scope, "contacts", "id", contacts).await?;
        // What was uncertain ends with its row alone: nobody settles it any more, and so nobody else asks.
        for campaign in held {
            campaigns::complete_if_done(&scope, campaign).await?;
        }
    }
    Ok(!by_account.is_empty())
}

/// Locks the campaigns of the enrollments whose `column` is one of these, before anything below them is touched.
/// Answers which they are.
async fn hold_campaigns(scope: &Scope, column: &str, ids: &[Uuid]) -> ApiResult<Vec<Uuid>> {
    let sql = format!(
        "SELECT k.id FROM campaigns k WHERE k.account_id = $1 AND k.id IN (SELECT e.campaign_id FROM enrollments e \
         WHERE e.account_id = $1 AND e.{column} IN ({})) ORDER BY k.id{}",
        holes(2, ids.len()),
        lock_sql(scope.backend(), RowLock::Update)
    );
    let rows = scope.query(&sql, uuids(ids)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Imports without contacts, together with what enrolled them.
async fn remove_imports(system: &SystemScope) -> ApiResult<bool> {
    let empty = system
        .query(
            "SELECT i.account_id, i.id FROM contact_imports i WHERE i.deleted_at IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM contacts c WHERE c.account_id = i.account_id AND c.contact_import_id = i.id) \
             AND NOT EXISTS (SELECT 1 FROM import_uploads u WHERE u.account_id = i.account_id \
             AND u.contact_import_id = i.id) LIMIT $1",
            [BATCH.into()],
        )
        .await?;
    for row in &empty {
        let scope = system.account(row.try_get("", "account_id")?);
        let import = [row.try_get("", "id")?];
        drop_rows(&scope, "enroll_jobs", "contact_import_id", &import).await?;
        drop_rows(&scope, "contact_imports", "id", &import).await?;
    }
    Ok(!empty.is_empty())
}

/// Enrollments of deleted campaigns. `ix_campaigns_deleted`, `ix_enrollments_page`
async fn remove_enrollments(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    let rows = system
        .query(
            "SELECT k.account_id, e.id FROM campaigns k JOIN enrollments e ON e.account_id = k.account_id \
             AND e.campaign_id = k.id \
             WHERE k.deleted_at IS NOT NULL AND e.progress <> 'claimed' LIMIT $1",
            [BATCH.into()],
        )
        .await?;
    let mut by_account: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in &rows {
        by_account.entry(row.try_get("", "account_id")?).or_default().push(row.try_get("", "id")?);
    }
    if let Some((account, found)) = by_account.first_key_value() {
        let scope = system.account(*account);
        periods::hold_all(&scope).await?;
        hold_campaigns(&scope, "id", found).await?;
        drop_enrollments(&scope, found, now).await?;
    }
    Ok(!by_account.is_empty())
}

/// Deleted campaigns without enrollments and without a test message on its way.
async fn remove_campaigns(system: &SystemScope) -> ApiResult<bool> {
    let rows = system
        .query(
            "SELECT k.account_id, k.id FROM campaigns k WHERE k.deleted_at IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.account_id = k.account_id \
                 AND e.campaign_id = k.id) \
             AND NOT EXISTS (SELECT 1 FROM test_messages t WHERE t.account_id = k.account_id \
                 AND t.campaign_id = k.id AND t.state IN ('claimed', 'sending')) LIMIT 1",
            [],
        )
        .await?;
    for row in &rows {
        let scope = system.account(row.try_get("", "account_id")?);
        let campaign = [row.try_get("", "id")?];
        periods::hold_all(&scope).await?;
        let days = "DELETE FROM credential_days WHERE account_id = $1 AND smtp_credential_id IN \
                    (SELECT id FROM smtp_credentials WHERE account_id = $1 AND campaign_id = $2)";
        scope.execute(days, uuids(&campaign)).await?;
        for part in PARTS {
            drop_rows(&scope, part, "campaign_id", &campaign).await?;
        }
        drop_rows(&scope, "campaigns", "id", &campaign).await?;
    }
    Ok(!rows.is_empty())
}

/// Deliveries, then their enrollments. What is uncertain keeps its place in the limits as a send.
async fn drop_enrollments(scope: &Scope, ids: &[Uuid], now: Timestamp) -> ApiResult<()> {
    let uncertain = scope
        .find_hidden::<deliveries::Entity>()
        .filter(deliveries::Column::State.eq(DeliveryState::Uncertain))
        .filter(deliveries::Column::EnrollmentId.is_in(ids.iter().copied()))
        .all(&scope.db())
        .await?;
    let mut tally = Tally::default();
    for delivery in &uncertain {
        spend_reservation(scope, delivery, false, now).await?;
        let enrollment = scope
            .find_hidden::<enrollments::Entity>()
            .filter(enrollments::Column::Id.eq(delivery.enrollment_id))
            .one(&scope.db())
            .await?;
        if let Some(enrollment) = enrollment {
            // Whether its first message came will never be known, and it is no longer waited for.
            let pending = -i64::from(enrollment.status == EnrollmentStatus::Pending);
            let delta = Delta { uncertain: -1, pending, ..Delta::NONE };
            tally.add(enrollment.batch_id, enrollment.campaign_id, delta);
        }
    }
    tally.write(scope).await?;
    drop_rows(scope, "deliveries", "enrollment_id", ids).await?;
    drop_rows(scope, "enrollments", "id", ids).await
}

async fn drop_rows(scope: &Scope, table: &str, column: &str, ids: &[Uuid]) -> ApiResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("DELETE FROM {table} WHERE account_id = $1 AND {column} IN ({})", holes(2, ids.len()));
    scope.execute(&sql, uuids(ids)).await?;
    Ok(())
}
