//! Imports that are read from a table in the background, a slice per transaction.
//!
//! The row says what became of the rows so far, and every slice changes it together with its contacts: a crash resumes
//! where the last commit ended, and two runners of one job cannot store a slice twice.

use serde_json::json;
use uuid::Uuid;

use super::{
    contact_imports::{Entity, LeftOut, MOST_REPORTED, Model},
    contact_rows::{self, NewContact, Rare},
    import_uploads,
    states::JobStatus,
    suppressions,
};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult, Code},
    tenancy::Scope,
};

/// Why an import failed that had only unusable rows.
const NO_VALID_ROW: &str = "No row could be imported";
/// Why an import failed whose job was given up.
const GIVEN_UP: &str =
    "The import was given up because of an internal error; contacts imported so far are kept";

/// Rows of a table that were read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Where it begins in the text.
    pub from: i64,
    /// Where it ends, which is where a record ends.
    pub to: i64,
    /// How many rows it has.
    pub rows: u64,
    /// The rows that can be imported.
    pub valid: Vec<NewContact>,
    /// The rows that cannot.
    pub left_out: Vec<LeftOut>,
    /// Whether the text ends with it.
    pub last: bool,
}

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is stored, and the table has more.
    GoesOn,
    /// Nothing: another runner stored it before.
    Overtaken,
    /// The table was read to its end.
    Ended,
}

/// Makes an import of a table that was kept.
///
/// # Errors
/// What the database refuses; `service_unavailable` when the upload is gone.
pub async fn create(
    scope: &Scope,
    name: String,
    upload_id: Uuid,
    bytes: i64,
    now: Timestamp,
) -> ApiResult<Model> {
    let import = Model::begin(scope, name, now);
    scope.insert::<Entity>(import.clone()).await?;
    if !import_uploads::attach(scope, upload_id, import.id, bytes).await? {
        return Err(ApiError::unavailable("the upload was removed before its import began"));
    }
    Ok(import)
}

/// Stores a slice, unless another runner has done so. Locks go from the account over the import to its upload.
///
/// # Errors
/// `not_found` when the table was read to its end, `contact_import_not_found` when the import was deleted; what the
/// database refuses.
pub async fn advance(
    scope: &Scope,
    key: &SuppressionKey,
    upload_id: Uuid,
    slice: Slice,
    now: Timestamp,
) -> ApiResult<Progress> {
    if !suppressions::hold_addresses(scope).await? {
        return Err(ApiError::new(Code::ContactImportNotFound));
    }
    let upload = scope.get::<import_uploads::Entity>(upload_id).await?;
    let import_id = upload.contact_import_id.ok_or_else(|| ApiError::new(Code::NotFound))?;
    let mut import = scope.lock::<Entity>(import_id).await?;
    // Read again under the lock that every runner of this job takes first.
    let upload = scope.lock::<import_uploads::Entity>(upload_id).await?;
    if import.status != JobStatus::Processing {
        return Ok(Progress::Ended);
    }
    if upload.position != slice.from {
        return Ok(Progress::Overtaken);
    }
    let (end, last) = (slice.to, slice.last);
    let given = count(slice.valid.len());
    let rare = Rare::ask(scope).await?;
    let inserted = contact_rows::insert(scope, key, import.id, slice.valid, rare, now).await?;
    import.note(given, i64::try_from(inserted).unwrap_or(i64::MAX), slice.left_out);
    if last {
        import.end();
        import_uploads::remove(scope, upload_id).await?;
    } else {
        import_uploads::read_to(scope, upload_id, end).await?;
    }
    save(scope, &import).await?;
    Ok(if last { Progress::Ended } else { Progress::GoesOn })
}

/// Gives up the import of an upload. What was imported stays; the rest of the text is removed later.
///
/// # Errors
/// What the database refuses.
pub async fn fail(scope: &Scope, upload_id: Uuid) -> ApiResult<()> {
    let sql = "UPDATE contact_imports SET status = 'failed', failure = $3 WHERE account_id = $1 \
               AND status = 'processing' AND id = \
               (SELECT contact_import_id FROM import_uploads WHERE account_id = $1 AND id = $2)";
    scope.execute(sql, [upload_id.into(), GIVEN_UP.into()]).await?;
    Ok(())
}

impl Model {
    /// Counts what became of the rows of a slice.
    fn note(&mut self, given: i64, inserted: i64, left_out: Vec<LeftOut>) {
        let invalid = count(left_out.len());
        self.record_count += inserted;
        self.contact_count += inserted;
        self.skipped += given - inserted;
        self.invalid_count += invalid;
        self.processed_rows += given + invalid;
        let mut shown = self.left_out();
        if shown.len() < MOST_REPORTED && invalid > 0 {
            let room = MOST_REPORTED - shown.len();
            shown.extend(left_out.into_iter().take(room));
            self.invalid = Some(json!(shown));
        }
    }

    /// Every row was looked at.
    fn end(&mut self) {
        let none = self.invalid_count == self.processed_rows;
        self.status = if none { JobStatus::Failed } else { JobStatus::Completed };
        self.failure = none.then(|| NO_VALID_ROW.to_owned());
    }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

async fn save(scope: &Scope, import: &Model) -> ApiResult<()> {
    let sql = "UPDATE contact_imports SET status = $3, record_count = $4, contact_count = $5, skipped = $6, \
               invalid_count = $7, processed_rows = $8, invalid = $9, failure = $10 WHERE account_id = $1 AND id = $2";
    let values = [
        import.id.into(),
        import.status.as_str().into(),
        import.record_count.into(),
        import.contact_count.into(),
        import.skipped.into(),
        import.invalid_count.into(),
        import.processed_rows.into(),
        import.invalid.clone().into(),
        import.failure.clone().into(),
    ];
    scope.execute(sql, values).await?;
    Ok(())
}
