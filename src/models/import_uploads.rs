//! Tables of contacts as text: kept in pieces while they are uploaded, read and removed a slice at a time.
//!
//! A piece is stored in a transaction of its own, so that no transaction waits for a client. The row says how far the
//! text was read; a slice moves it in the transaction that stores the slice's contacts.

use serde_json::Value as Json;
use uuid::Uuid;

pub use super::_entities::import_uploads::{ActiveModel, Column, Entity, Model};
use super::sql::{holes, uuids};
use crate::{
    clock::{Timestamp, new_id},
    errors::ApiResult,
    tenancy::{Scope, SystemScope, tenant_entity},
};

tenant_entity!(import_uploads, NotFound);

/// Bytes of every piece but the last: short transactions, and few of them.
pub const CHUNK_BYTES: usize = 512 << 10;
/// Pieces that one transaction of [`purge`] removes: 16 MiB, which is more than a slice has.
const CHUNKS_AT_ONCE: i64 = 32;

/// Notes that a text is being uploaded, whose records begin at `position`.
///
/// # Errors
/// What the database refuses.
pub async fn begin(scope: &Scope, columns: Json, position: i64, now: Timestamp) -> ApiResult<Uuid> {
    let row = Model {
        id: new_id(),
        account_id: scope.account_id(),
        contact_import_id: None,
        columns,
        bytes: 0,
        position,
        created_at: now,
    };
    let id = row.id;
    scope.insert::<Entity>(row).await?;
    Ok(id)
}

/// Keeps a piece.
///
/// # Errors
/// What the database refuses; also when the upload was removed meanwhile.
pub async fn keep(scope: &Scope, id: Uuid, number: i64, body: Vec<u8>) -> ApiResult<()> {
    let sql =
        "INSERT INTO import_chunks (account_id, import_upload_id, number, body) VALUES ($1, $2, $3, $4)";
    scope.execute(sql, [id.into(), number.into(), body.into()]).await?;
    Ok(())
}

/// A piece, if there is one of this number.
///
/// # Errors
/// What the database refuses.
pub async fn piece(scope: &Scope, id: Uuid, number: i64) -> ApiResult<Option<Vec<u8>>> {
    let sql =
        "SELECT body FROM import_chunks WHERE account_id = $1 AND import_upload_id = $2 AND number = $3";
    let row = scope.query_one(sql, [id.into(), number.into()]).await?;
    Ok(row.map(|row| row.try_get("", "body")).transpose()?)
}

/// Says whose text it is, and how long. False: it is gone, or has an import.
///
/// # Errors
/// What the database refuses.
pub async fn attach(scope: &Scope, id: Uuid, contact_import_id: Uuid, bytes: i64) -> ApiResult<bool> {
    let sql = "UPDATE import_uploads SET contact_import_id = $3, bytes = $4 \
               WHERE account_id = $1 AND id = $2 AND contact_import_id IS NULL";
    Ok(scope.execute(sql, [id.into(), contact_import_id.into(), bytes.into()]).await? == 1)
}

/// Leaves what was uploaded to the sweeper, at its next look.
///
/// # Errors
/// What the database refuses.
pub async fn abandon(scope: &Scope, id: Uuid) -> ApiResult<()> {
    let sql = "UPDATE import_uploads SET created_at = 0 \
               WHERE account_id = $1 AND id = $2 AND contact_import_id IS NULL";
    scope.execute(sql, [id.into()]).await?;
    Ok(())
}

/// Notes that the text was read up to `position`, and removes the pieces that lie before it: those of a slice.
///
/// # Errors
/// What the database refuses.
pub async fn read_to(scope: &Scope, id: Uuid, position: i64) -> ApiResult<()> {
    let sql = "UPDATE import_uploads SET position = $3 WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [id.into(), position.into()]).await?;
    let sql = "DELETE FROM import_chunks WHERE account_id = $1 AND import_upload_id = $2 AND number < $3";
    scope.execute(sql, [id.into(), number_at(position).into()]).await?;
    Ok(())
}

/// Removes a text that was read to its end: what is left of it are the pieces of its last slice, and at most 4 MiB behind it.
///
/// # Errors
/// What the database refuses.
pub async fn remove(scope: &Scope, id: Uuid) -> ApiResult<()> {
    let sql = "DELETE FROM import_chunks WHERE account_id = $1 AND import_upload_id = $2";
    scope.execute(sql, [id.into()]).await?;
    scope.execute("DELETE FROM import_uploads WHERE account_id = $1 AND id = $2", [id.into()]).await?;
    Ok(())
}

/// The number of the piece in which a byte lies.
pub fn number_at(position: i64) -> i64 {
    position / i64::try_from(CHUNK_BYTES).unwrap_or(i64::MAX)
}

/// Removes some of what nobody will read: uploads that were broken off before `since`, texts of imports that failed or
/// were deleted. `false`: nothing is left.
///
/// # Errors
/// What the database refuses.
pub async fn purge(system: &SystemScope, since: Timestamp) -> ApiResult<bool> {
    // ix_import_uploads_unfinished; texts with an import are as many as imports that run, fail or are being deleted.
    let sql = "SELECT u.account_id, u.id FROM import_uploads u \
               LEFT JOIN contact_imports i ON i.account_id = u.account_id AND i.id = u.contact_import_id \
               WHERE (u.contact_import_id IS NULL AND u.created_at < $1) \
               OR i.status = 'failed' OR i.deleted_at IS NOT NULL LIMIT 1";
    let Some(row) = system.query_one(sql, [since.micros().into()]).await? else { return Ok(false) };
    let (account_id, id): (Uuid, Uuid) = (row.try_get("", "account_id")?, row.try_get("", "id")?);
    let scope = system.account(account_id);
    let sql = "SELECT number FROM import_chunks WHERE account_id = $1 AND import_upload_id = $2 LIMIT $3";
    let rows = scope.query(sql, [id.into(), CHUNKS_AT_ONCE.into()]).await?;
    if rows.is_empty() {
        remove(&scope, id).await?;
        return Ok(true);
    }
    let numbers = rows.iter().map(|row| row.try_get("", "number")).collect::<Result<Vec<i64>, _>>()?;
    let sql = format!(
        "DELETE FROM import_chunks WHERE account_id = $1 AND import_upload_id = $2 AND number IN ({})",
        holes(3, numbers.len())
    );
    scope.execute(&sql, uuids(&[id]).chain(numbers.into_iter().map(Into::into))).await?;
    Ok(true)
}
