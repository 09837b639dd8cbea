//! Contact imports: named bulk inserts that contacts live in.

use uuid::Uuid;

pub use super::_entities::contact_imports::{ActiveModel, Column, Entity, Model};
use super::{
    contact_rows::{self, NewContact},
    states::JobStatus,
    suppressions,
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult},
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(contact_imports, ContactImportNotFound, visible: "contact_imports.deleted_at IS NULL");

/// What an import became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The import; its `record_count` is how many contacts it brought.
    pub import: Model,
    /// How many rows had an address that the account, or an earlier row, has.
    pub skipped: u64,
}

/// Makes an import of rows that were checked.
///
/// # Errors
/// What the database refuses.
pub async fn create(
    scope: &Scope,
    key: &SuppressionKey,
    name: String,
    rows: Vec<NewContact>,
    now: Timestamp,
) -> ApiResult<Imported> {
    suppressions::hold_addresses(scope).await?;
    let mut import = Model {
        id: new_id(),
        account_id: scope.account_id(),
        name,
        status: JobStatus::Completed,
        record_count: 0,
        created_at: now,
        deleted_at: None,
    };
    scope.insert::<Entity>(import.clone()).await?;
    let given = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let inserted = contact_rows::insert(scope, key, import.id, rows, now).await?;
    import.record_count = i64::try_from(inserted).unwrap_or(i64::MAX);
    let sql = "UPDATE contact_imports SET record_count = $3 WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [import.id.into(), import.record_count.into()]).await?;
    Ok(Imported { import, skipped: given.saturating_sub(inserted) })
}

/// How many contacts an import has now.
///
/// # Errors
/// What the database refuses.
pub async fn contact_count(scope: &Scope, id: Uuid) -> ApiResult<i64> {
    // ix_contacts_import
    let sql = "SELECT count(*) AS contacts FROM contacts \
               WHERE account_id = $1 AND contact_import_id = $2 AND deleted_at IS NULL";
    let row = scope.query_one(sql, [id.into()]).await?;
    Ok(row.map(|row| row.try_get("", "contacts")).transpose()?.unwrap_or_default())
}

/// Deletes an import of any size at once: its contacts are hidden with it, and their addresses are free. The rows are
/// removed later.
///
/// # Errors
/// `contact_import_not_found`.
pub async fn delete(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<()> {
    let sql =
        "UPDATE contact_imports SET deleted_at = $3 WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL";
    let deleted = scope.execute(sql, [id.into(), now.micros().into()]).await?;
    if deleted == 0 { Err(ApiError::new(Entity::MISSING)) } else { Ok(()) }
}
