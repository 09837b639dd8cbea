//! Imports that are read from a table in the background, a slice per transaction.
//!
//! The row says what became of the rows so far, and every slice changes it together with its contacts: a crash resumes
//! where the last commit ended, and two runners of one job cannot store a slice twice. The contacts of the next slice go
//! in while a slice is noted and committed, which is mostly waiting for the disk.

use serde_json::json;
use uuid::Uuid;

use super::{
    accounts,
    contact_imports::{Entity, LeftOut, MOST_REPORTED, Model},
    contact_rows::{self, Rare, Ready},
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
    pub valid: Ready,
    /// The rows that cannot.
    pub left_out: Vec<LeftOut>,
    /// Whether the text ends with it.
    pub last: bool,
}

/// A slice whose contacts are in the database, in a transaction that is to note them.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    import_id: Uuid,
    upload_id: Uuid,
    from: i64,
    to: i64,
    last: bool,
    /// Rows that could be imported.
    given: i64,
    /// Those of them that were new.
    inserted: i64,
    left_out: Vec<LeftOut>,
}

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is noted, and the table has more.
    GoesOn,
    /// Another runner was faster, or the import is over: what was stored of the slice must be undone.
    Overtaken,
    /// It is noted, and was the last.
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

/// Adds the contacts of a slice; the slice before it may still be uncommitted. Of equal addresses the one that comes first in
/// the table is kept, because whoever adds one again waits for the transaction that added it.
///
/// Takes no lock on the account, the import or the upload, so that this may go on beside [`note_slice`] of the slice before:
/// only where addresses are freed, which others may be locking, the account comes first, and this waits. The two together,
/// in one transaction, store a slice.
///
/// # Errors
/// `not_found` when the table was read to its end, `contact_import_not_found` when the import was deleted; what the
/// database refuses.
pub async fn store_contacts(
    scope: &Scope,
    key: &SuppressionKey,
    upload_id: Uuid,
    slice: Slice,
    now: Timestamp,
) -> ApiResult<Stored> {
    suppressions::share_addresses(scope).await?;
    let upload = scope.get::<import_uploads::Entity>(upload_id).await?;
    let import_id = upload.contact_import_id.ok_or_else(|| ApiError::new(Code::NotFound))?;
    scope.get::<Entity>(import_id).await?;
    let Slice { from, to, rows: _, valid, left_out, last } = slice;
    let given = count(valid.len());
    let rare = Rare::ask(scope, import_id).await?;
    if rare.freeing {
        accounts::hold(scope).await?;
    }
    let inserted = contact_rows::insert(scope, key, import_id, valid.chunks(), rare, now).await?;
    let inserted = i64::try_from(inserted).unwrap_or(i64::MAX);
    Ok(Stored { import_id, upload_id, from, to, last, given, inserted, left_out })
}

/// Notes a slice that was stored, in the same transaction, unless another runner has done so. Locks go from the account
/// over the import to its upload.
///
/// # Errors
/// As of [`store_contacts`].
pub async fn note_slice(scope: &Scope, stored: Stored) -> ApiResult<Progress> {
    if !accounts::hold(scope).await? {
        return Err(ApiError::new(Code::ContactImportNotFound));
    }
    let mut import = scope.lock_but_key::<Entity>(stored.import_id).await?;
    let upload = scope.lock_but_key::<import_uploads::Entity>(stored.upload_id).await?;
    if import.status != JobStatus::Processing || upload.position != stored.from {
        return Ok(Progress::Overtaken);
    }
    let Stored { upload_id, to, last, given, inserted, left_out, .. } = stored;
    import.note(given, inserted, left_out);
    if last {
        import.end();
        import_uploads::remove(scope, upload_id).await?;
    } else {
        import_uploads::read_to(scope, upload_id, to).await?;
    }
    import.save(scope).await?;
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
