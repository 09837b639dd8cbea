//! Contact imports as clients see them.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        contact_imports::{LeftOut, Model},
        states::JobStatus,
    },
};

/// An import in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContactImport {
    id: Uuid,
    name: String,
    status: JobStatus,
    record_count: i64,
    created_at: Timestamp,
}

impl From<Model> for ContactImport {
    fn from(row: Model) -> Self {
        let Model {
            id,
            account_id: _,
            name,
            status,
            record_count,
            contact_count: _,
            processed_rows: _,
            skipped: _,
            invalid_count: _,
            invalid: _,
            failure: _,
            created_at,
            deleted_at: _,
        } = row;
        Self { id, name, status, record_count, created_at }
    }
}

/// An import on its own: how far it is while it runs, what became of its rows afterwards.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContactImportDetail {
    #[serde(flatten)]
    import: ContactImport,
    contact_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_rows: Option<i64>,
    #[serde(flatten)]
    result: Option<ImportResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of the rows. All of it is there, also when it is nothing.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ImportResult {
    skipped: i64,
    invalid_count: i64,
    invalid: Vec<LeftOut>,
}

impl From<Model> for ContactImportDetail {
    fn from(row: Model) -> Self {
        let running = row.status == JobStatus::Processing;
        let result =
            ImportResult { skipped: row.skipped, invalid_count: row.invalid_count, invalid: row.left_out() };
        Self {
            contact_count: row.contact_count,
            processed_rows: running.then_some(row.processed_rows),
            result: (!running).then_some(result),
            error: row.failure.clone(),
            import: row.into(),
        }
    }
}

/// An import that goes on in the background.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StartedImport {
    id: Uuid,
    name: String,
    status: JobStatus,
}

impl From<Model> for StartedImport {
    fn from(started: Model) -> Self {
        Self { id: started.id, name: started.name, status: started.status }
    }
}

/// An import that was just made; what has nothing to report is absent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NewImport {
    id: Uuid,
    name: String,
    record_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_count: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invalid: Vec<LeftOut>,
}

impl From<Model> for NewImport {
    fn from(made: Model) -> Self {
        Self {
            id: made.id,
            record_count: made.record_count,
            skipped: Some(made.skipped).filter(|count| *count > 0),
            invalid_count: Some(made.invalid_count).filter(|count| *count > 0),
            invalid: made.left_out(),
            name: made.name,
        }
    }
}
