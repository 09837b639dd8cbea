//! Contact imports as clients see them.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        contact_imports::{Imported, Model},
        states::JobStatus,
    },
    params::contact_imports::{InvalidRow, Rows},
};

/// An import in a list.
#[derive(Debug, Serialize)]
pub struct ContactImport {
    id: Uuid,
    name: String,
    status: JobStatus,
    record_count: i64,
    created_at: Timestamp,
}

impl From<Model> for ContactImport {
    fn from(row: Model) -> Self {
        let Model { id, account_id: _, name, status, record_count, created_at, deleted_at: _ } = row;
        Self { id, name, status, record_count, created_at }
    }
}

/// An import on its own.
#[derive(Debug, Serialize)]
pub struct ContactImportDetail {
    #[serde(flatten)]
    import: ContactImport,
    contact_count: i64,
}

impl ContactImportDetail {
    /// Shows an import with the contacts that it has now.
    pub fn new(row: Model, contact_count: i64) -> Self {
        Self { import: row.into(), contact_count }
    }
}

/// An import that was just made; what has nothing to report is absent.
#[derive(Debug, Serialize)]
pub struct NewImport {
    id: Uuid,
    name: String,
    record_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_count: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invalid: Vec<Invalid>,
}

/// A row that was left out.
#[derive(Debug, Serialize)]
struct Invalid {
    index: usize,
    email: Option<String>,
    message: String,
}

impl NewImport {
    /// Shows what became of the rows; `rows` are those of the body, less the valid ones.
    pub fn new(made: Imported, rows: Rows) -> Self {
        let Imported { import, skipped } = made;
        let invalid = rows.invalid.into_iter().map(Invalid::from).collect();
        Self {
            id: import.id,
            name: import.name,
            record_count: import.record_count,
            skipped: Some(skipped).filter(|count| *count > 0),
            invalid_count: Some(rows.invalid_count).filter(|count| *count > 0),
            invalid,
        }
    }
}

impl From<InvalidRow> for Invalid {
    fn from(row: InvalidRow) -> Self {
        let message = row.message();
        Self { index: row.index, email: row.email, message }
    }
}
