//! Removes what was deleted. A delete marks and hides at once; here its rows go, in batches, so that no write is long.
//! What a lane holds at the moment is left for a later look, and what is uncertain counts as sent before it goes.

use std::{collections::BTreeMap, time::Duration};

use sea_orm::{ColumnTrait, DbErr, QueryFilter, QueryResult};
use uuid::Uuid;

use super::{
    accounts::erase,
    campaigns,
    deliveries::{self, spend_reservation},
    enrollments::{self, Stop, stop_some},
    import_uploads, periods,
    sql::{holes, uuids},
    states::{DeliveryState, EnrollmentStatus},
    suppressions,
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
/// Rows of one transaction of what has nothing below itself.
const PARTS_BATCH: i64 = 1_000;

/// An upload that has no import after so long was broken off: its request has ended, one way or the other.
const UPLOAD_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// What belongs to a campaign beside its enrollments, by its key, in the order in which it can go.
const PARTS: [(&str, &str); 7] = [
    ("enrollment_skips", "id"),
    ("enroll_jobs", "id"),
    ("test_messages", "id"),
    ("sequence_steps", "id"),
    ("batches", "id"),
    ("campaign_totals", "campaign_id"),
    ("smtp_credentials", "id"),
];

/// Removes one batch. `false`: nothing is left that could be removed now.
///
/// # Errors
/// What the database refuses.
pub async fn remove_some(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    Ok(remove_contacts(system, now).await?
        || import_uploads::purge(system, now.minus(UPLOAD_TIME)).await?
        || remove_imports(system, now).await?
        || remove_enrollments(system, now).await?
        || remove_campaigns(system).await?
        || webhook_deliveries::remove_some(system, BATCH).await?
        || erase::remove_some(system, now).await?)
}

/// Contacts that are deleted, or whose import is, by now: a batch of their enrollments, and those of them that have no more.
/// `ix_contacts_deleted`, `ix_contact_imports_deleted`, `ix_contacts_import`
async fn remove_contacts(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    let free = "NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.account_id = c.account_id AND e.contact_id = c.id \
                AND e.progress = 'claimed')";
    let single = format!(
        "SELECT c.account_id, c.id FROM contacts c WHERE c.deleted_at IS NOT NULL AND {free} LIMIT $1"
    );
    let of_imports = format!(
        "SELECT c.account_id, c.id FROM contact_imports i JOIN contacts c ON c.account_id = i.account_id \
         AND c.contact_import_id = i.id WHERE i.deleted_at <= $2 AND {free} LIMIT $1"
    );
    let mut rows = system.query(&single, [BATCH.into()]).await?;
    if rows.is_empty() {
        rows = system.query(&of_imports, [BATCH.into(), now.micros().into()]).await?;
    }
    // One account in a transaction: its periods come before its campaigns, and before those of another.
    let Some((account, contacts)) = by_account(&rows)?.pop_first() else { return Ok(false) };
    let scope = system.account(account);
    // An import that frees the same addresses takes the contacts in another order.
    suppressions::hold_addresses(&scope).await?;
    periods::hold_all(&scope).await?;
    // Ended enrollments too: whoever found them a moment ago is about to lock the contact, and then them.
    let found = enrollments_of(&scope, &contacts).await?;
    let held = hold_campaigns(&scope, &found).await?;
    // One of a deleted import may have been claimed while this waited for the locks: it is left to a later look.
    let found = unclaimed(&scope, &found).await?;
    stop_some(&scope, &found, Stop::Deleted, now).await?;
    drop_enrollments(&scope, &found, now).await?;
    // What was uncertain ends with its row alone: nobody settles it any more, and so nobody else asks.
    for campaign in held {
        campaigns::complete_if_done(&scope, campaign).await?;
    }
    if drop_some(&scope, "enrollment_skips", "id", "contact_id", &contacts).await? == 0 {
        let bare = format!(
            "DELETE FROM contacts WHERE account_id = $1 AND id IN ({}) AND NOT EXISTS (SELECT 1 FROM enrollments e \
             WHERE e.account_id = $1 AND e.contact_id = contacts.id)",
            holes(2, contacts.len())
        );
        scope.execute(&bare, uuids(&contacts)).await?;
    }
    Ok(true)
}

/// The rows' ids, by their accounts.
fn by_account(rows: &[QueryResult]) -> Result<BTreeMap<Uuid, Vec<Uuid>>, DbErr> {
    let mut found: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in rows {
        found.entry(row.try_get("", "account_id")?).or_default().push(row.try_get("", "id")?);
    }
    Ok(found)
}

/// A batch of what these contacts are enrolled in, each of which may be in any number of campaigns.
/// `ix_enrollments_contact`
async fn enrollments_of(scope: &Scope, contacts: &[Uuid]) -> ApiResult<Vec<Uuid>> {
    let sql = format!(
        "SELECT id FROM enrollments WHERE account_id = $1 AND contact_id IN ({}) LIMIT {BATCH}",
        holes(2, contacts.len())
    );
    ids(&scope.query(&sql, uuids(contacts)).await?)
}

async fn unclaimed(scope: &Scope, enrollments: &[Uuid]) -> ApiResult<Vec<Uuid>> {
    let sql = format!(
        "SELECT id FROM enrollments WHERE account_id = $1 AND id IN ({}) AND progress <> 'claimed'",
        holes(2, enrollments.len())
    );
    ids(&scope.query(&sql, uuids(enrollments)).await?)
}

fn ids(rows: &[QueryResult]) -> ApiResult<Vec<Uuid>> {
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Locks the campaigns of these enrollments, before anything below them is touched. Answers which they are.
async fn hold_campaigns(scope: &Scope, enrollments: &[Uuid]) -> ApiResult<Vec<Uuid>> {
    let sql = format!(
        "SELECT k.id FROM campaigns k WHERE k.account_id = $1 AND k.id IN (SELECT e.campaign_id FROM enrollments e \
         WHERE e.account_id = $1 AND e.id IN ({})) ORDER BY k.id{}",
        holes(2, enrollments.len()),
        lock_sql(scope.backend(), RowLock::Update)
    );
    ids(&scope.query(&sql, uuids(enrollments)).await?)
}

/// An import without contacts, together with what enrolled them.
async fn remove_imports(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    let sql = "SELECT i.account_id, i.id FROM contact_imports i WHERE i.deleted_at <= $2 AND NOT EXISTS \
               (SELECT 1 FROM contacts c WHERE c.account_id = i.account_id AND c.contact_import_id = i.id) \
               AND NOT EXISTS (SELECT 1 FROM import_uploads u WHERE u.account_id = i.account_id \
               AND u.contact_import_id = i.id) LIMIT $1";
    let Some((account, empty)) =
        by_account(&system.query(sql, [BATCH.into(), now.micros().into()]).await?)?.pop_first()
    else {
        return Ok(false);
    };
    let scope = system.account(account);
    if drop_some(&scope, "enroll_jobs", "id", "contact_import_id", &empty).await? == 0 {
        drop_some(&scope, "contact_imports", "id", "id", &empty).await?;
    }
    Ok(true)
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
    let Some((account, found)) = by_account(&rows)?.pop_first() else { return Ok(false) };
    let scope = system.account(account);
    periods::hold_all(&scope).await?;
    hold_campaigns(&scope, &found).await?;
    drop_enrollments(&scope, &found, now).await?;
    Ok(true)
}

/// A deleted campaign without enrollments and without a test message on its way: a batch of what it has, or itself.
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
    let Some((account, campaign)) = by_account(&rows)?.pop_first() else { return Ok(false) };
    let scope = system.account(account);
    periods::hold_all(&scope).await?;
    let days = format!(
        "DELETE FROM credential_days WHERE account_id = $1 AND (smtp_credential_id, day) IN \
         (SELECT d.smtp_credential_id, d.day FROM smtp_credentials s JOIN credential_days d \
         ON d.account_id = $1 AND d.smtp_credential_id = s.id \
         WHERE s.account_id = $1 AND s.campaign_id = $2 LIMIT {PARTS_BATCH})"
    );
    if scope.execute(&days, uuids(&campaign)).await? > 0 {
        return Ok(true);
    }
    for (part, key) in PARTS {
        if drop_some(&scope, part, key, "campaign_id", &campaign).await? > 0 {
            return Ok(true);
        }
    }
    drop_rows(&scope, "campaigns", "id", &campaign).await?;
    Ok(true)
}

/// Deliveries and where they went, then their enrollments. What is uncertain keeps its place in the limits as a send.
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
    drop_rows(scope, "former_addresses", "enrollment_id", ids).await?;
    drop_rows(scope, "deliveries", "enrollment_id", ids).await?;
    drop_rows(scope, "enrollments", "id", ids).await
}

/// Removes a batch of the rows whose `column` is one of these; answers how many they were.
async fn drop_some(scope: &Scope, table: &str, key: &str, column: &str, of: &[Uuid]) -> ApiResult<u64> {
    let sql = format!(
        "DELETE FROM {table} WHERE account_id = $1 AND {key} IN \
         (SELECT {key} FROM {table} WHERE account_id = $1 AND {column} IN ({}) LIMIT {PARTS_BATCH})",
        holes(2, of.len())
    );
    Ok(scope.execute(&sql, uuids(of)).await?)
}

async fn drop_rows(scope: &Scope, table: &str, column: &str, ids: &[Uuid]) -> ApiResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("DELETE FROM {table} WHERE account_id = $1 AND {column} IN ({})", holes(2, ids.len()));
    scope.execute(&sql, uuids(ids)).await?;
    Ok(())
}
