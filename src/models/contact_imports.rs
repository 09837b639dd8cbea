//! Contact imports: named bulk inserts that contacts live in.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use super::_entities::contact_imports::{ActiveModel, Column, Entity, Model};
use super::{
    contact_rows::{self, Rare, Ready, RowFailures},
    states::JobStatus,
    suppressions,
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult, Failures},
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(contact_imports, ContactImportNotFound, visible: "contact_imports.deleted_at IS NULL");

/// How many of the rows that were left out are kept and shown.
pub const MOST_REPORTED: usize = 100;
/// Characters of an unusable address that are repeated to the client.
const SHOWN_EMAIL: usize = 255;

/// Rows that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImport {
    /// The import's name.
    pub name: String,
    /// The rows that can be imported.
    pub valid: Ready,
    /// The first of those that cannot.
    pub invalid: Vec<LeftOut>,
    /// How many cannot.
    pub invalid_count: u64,
}

/// A row that was left out, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// Its place among the rows, from 0.
    pub index: u64,
    /// The address as it was given, cut to 255 characters.
    pub email: Option<String>,
    /// Why, for people.
    pub message: String,
}

impl LeftOut {
    /// A row whose fields did not pass.
    pub fn new(index: u64, email: Option<&str>, failures: RowFailures) -> Self {
        let mut all = Failures::new();
        for (field, reason) in failures {
            all.add(field, reason);
        }
        let email =
            email.map(|text| text.chars().filter(|letter| *letter != '\0').take(SHOWN_EMAIL).collect());
        Self { index, email, message: ApiError::from(all).message.into_owned() }
    }
}

impl Model {
    /// The first of the rows that were left out.
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.invalid.clone().and_then(|rows| serde_json::from_value(rows).ok()).unwrap_or_default()
    }
}

/// Makes an import of rows that were checked.
///
/// # Errors
/// What the database refuses.
pub async fn create(scope: &Scope, key: &SuppressionKey, new: NewImport, now: Timestamp) -> ApiResult<Model> {
    suppressions::share_addresses(scope).await?;
    let given = u64::try_from(new.valid.len()).unwrap_or(u64::MAX);
    let mut import = Model::begin(scope, new.name.clone(), now);
    import.status = JobStatus::Completed;
    import.count(&new, given);
    let rare = store(scope, &import).await?;
    let inserted = contact_rows::insert(scope, key, import.id, new.valid.chunks(), rare, now).await?;
    // Mostly every row is new, and the import stands as it was written.
    if inserted < given {
        import.count(&new, inserted);
        import.save(scope).await?;
    }
    Ok(import)
}

/// Stores an import that is complete, and asks in the same round trip what its rows need to know.
async fn store(scope: &Scope, import: &Model) -> ApiResult<Rare> {
    let sql = format!(
        "INSERT INTO contact_imports (id, account_id, name, status, record_count, contact_count, processed_rows, \
         skipped, invalid_count, invalid, created_at) VALUES ($2, $1, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         RETURNING {}",
        Rare::COLUMNS
    );
    let values = [
        import.id.into(),
        import.name.as_str().into(),
        import.status.as_str().into(),
        import.record_count.into(),
        import.contact_count.into(),
        import.processed_rows.into(),
        import.skipped.into(),
        import.invalid_count.into(),
        import.invalid.clone().into(),
        import.created_at.micros().into(),
    ];
    Rare::of(scope.query_one(&sql, values).await?)
}

impl Model {
    /// Counts what became of all its rows, of which so many were stored.
    pub(super) fn count(&mut self, new: &NewImport, stored: u64) {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let given = i64::try_from(new.valid.len()).unwrap_or(i64::MAX);
        self.invalid_count = whole(new.invalid_count);
        self.invalid = (!new.invalid.is_empty()).then(|| serde_json::json!(new.invalid));
        self.processed_rows = given.saturating_add(self.invalid_count);
        (self.record_count, self.contact_count) = (whole(stored), whole(stored));
        self.skipped = given.saturating_sub(self.record_count);
    }

    /// Stores what became of it so far.
    pub(super) async fn save(&self, scope: &Scope) -> ApiResult<()> {
        let sql = "UPDATE contact_imports SET status = $3, record_count = $4, contact_count = $5, skipped = $6, \
                   invalid_count = $7, processed_rows = $8, invalid = $9, failure = $10 WHERE account_id = $1 AND id = $2";
        let values = [
            self.id.into(),
            self.status.as_str().into(),
            self.record_count.into(),
            self.contact_count.into(),
            self.skipped.into(),
            self.invalid_count.into(),
            self.processed_rows.into(),
            self.invalid.clone().into(),
            self.failure.clone().into(),
        ];
        scope.execute(sql, values).await?;
        Ok(())
    }

    /// An import without rows, which is processing.
    pub(super) fn begin(scope: &Scope, name: String, now: Timestamp) -> Self {
        Self {
            id: new_id(),
            account_id: scope.account_id(),
            name,
            status: JobStatus::Processing,
            record_count: 0,
            contact_count: 0,
            processed_rows: 0,
            skipped: 0,
            invalid_count: 0,
            invalid: None,
            failure: None,
            created_at: now,
            deleted_at: None,
        }
    }
}

/// Notes that an import lost a contact. Called before the contact changes: the import's row comes before its contacts in
/// the lock order.
///
/// # Errors
/// What the database refuses.
pub async fn count_deleted(scope: &Scope, id: Uuid) -> ApiResult<()> {
    let sql =
        "UPDATE contact_imports SET contact_count = contact_count - 1 WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [id.into()]).await?;
    Ok(())
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
