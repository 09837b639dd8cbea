//! Contacts that come as a table of text (RFC 4180): the upload is kept in pieces, and a job reads them a slice at a time.
//!
//! `records` cuts text into records, `columns` says what a record means, `upload` takes the text in, `slice` reads it
//! again. What they add up to is stored by `models::import_uploads` and `models::contact_imports`.
//!
//! `listed` takes those that come as a list in JSON.

mod columns;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod listed;
mod records;
mod slice;
mod upload;

pub use listed::Listed;
pub use slice::{Pace, Reader};
pub use upload::{MOST_BYTES, Received, Refused, abandon, receive};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    jobs::{Job, READ_TABLE, RESUMABLE_ATTEMPTS, enqueue_on},
    models::{contact_imports, import_progress},
    tenancy::Scope,
};

/// Makes an import of a table that was received, and has it read.
///
/// # Errors
/// What the database refuses; `service_unavailable` when the upload is gone.
pub async fn start(
    scope: &Scope,
    name: String,
    received: Received,
    now: Timestamp,
) -> ApiResult<contact_imports::Model> {
    let Received { id, bytes } = received;
    let import = import_progress::create(scope, name, id, bytes, now).await?;
    let args = serde_json::json!({ "account_id": scope.account_id(), "import_upload_id": id });
    enqueue_on(&scope.db(), Job { max_attempts: RESUMABLE_ATTEMPTS, ..Job::new(READ_TABLE, args) }).await?;
    Ok(import)
}
