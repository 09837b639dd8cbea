//! Imports of more contacts than one transaction is to store: filled chunk by chunk, seen when all of it is there (ADR 21).
//!
//! Until then such an import is one that was deleted as of a moment to come: hidden, enrolled by nobody, its addresses free for
//! whoever adds them meanwhile, and removed from that moment on. Each chunk moves the moment on, so nothing has to be tidied up
//! behind a process that dies in the middle.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use super::{
    contact_imports::{Entity, Model, NewImport},
    contact_rows::{self, Chunk, Rare},
    states::JobStatus,
    suppressions,
};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult, Code},
    tenancy::Scope,
};

/// How long after each chunk an import is still being filled.
const FILLED_FOR: Duration = Duration::from_secs(30);
/// How much later it is one that was deleted: whoever removes it may go by another clock.
const LEFT_FOR: Duration = Duration::from_secs(5 * 60);

/// An import that is being filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    import: Model,
    /// From when on it is one that was deleted.
    deleted_at: Timestamp,
    /// The contacts that were stored.
    stored: HashSet<Uuid>,
}

/// Whether an import of the account is being filled.
///
/// # Errors
/// What the database refuses.
pub async fn any(scope: &Scope, now: Timestamp) -> ApiResult<bool> {
    // ix_contact_imports_hidden
    let sql = "SELECT 1 AS one FROM contact_imports WHERE account_id = $1 AND deleted_at > $2 LIMIT 1";
    Ok(scope.query_one(sql, [now.plus(LEFT_FOR).micros().into()]).await?.is_some())
}

/// Makes a hidden import; `None` while another of the account's is being filled. Nobody else adds addresses meanwhile: who
/// looked for hidden imports and saw none has stored theirs before the first of these comes.
///
/// # Errors
/// `unauthorized` when the account is gone; what the database refuses.
pub async fn begin(scope: &Scope, name: &str, now: Timestamp) -> ApiResult<Option<Staged>> {
    hold_addresses(scope).await?;
    if any(scope, now).await? {
        return Ok(None);
    }
    let deleted_at = now.plus(FILLED_FOR).plus(LEFT_FOR);
    let import = Model { deleted_at: Some(deleted_at), ..Model::begin(scope, name.to_owned(), now) };
    scope.insert::<Entity>(import.clone()).await?;
    Ok(Some(Staged { import, deleted_at, stored: HashSet::new() }))
}

/// Adds a chunk of contacts, in a transaction of its own. Nobody else adds addresses meanwhile: what they find taken by then is to
/// be theirs, and only what is committed can be freed.
///
/// # Errors
/// `service_unavailable` when it took too long, `unauthorized` when the account is gone; what the database refuses.
pub async fn add(
    scope: &Scope,
    key: &SuppressionKey,
    staged: &Staged,
    chunk: &Chunk,
    now: Timestamp,
) -> ApiResult<Added> {
    hold_addresses(scope).await?;
    let deleted_at = now.plus(FILLED_FOR).plus(LEFT_FOR);
    move_on(scope, staged, Some(deleted_at), now).await?;
    let Model { id, created_at, .. } = staged.import;
    let rare = Rare::ask(scope, id).await?;
    let contacts = contact_rows::insert_chunk(scope, key, id, chunk, rare, created_at).await?;
    Ok(Added { deleted_at, contacts })
}

/// What a transaction has added.
#[derive(Debug)]
pub struct Added {
    deleted_at: Timestamp,
    contacts: Vec<Uuid>,
}

impl Staged {
    /// Once that is durable.
    pub fn note(&mut self, Added { deleted_at, contacts }: Added) {
        self.deleted_at = deleted_at;
        self.stored.extend(contacts);
    }
}

/// Has the import seen, complete. An address that was freed meanwhile is taken back where whoever added it is not seen either:
/// of two that have it, it belongs to the one that is seen first.
///
/// # Errors
/// `service_unavailable` when it took too long, `unauthorized` when the account is gone; what the database refuses.
pub async fn reveal(
    scope: &Scope,
    key: &SuppressionKey,
    staged: Staged,
    new: &NewImport,
    now: Timestamp,
) -> ApiResult<Model> {
    hold_addresses(scope).await?;
    move_on(scope, &staged, None, now).await?;
    let Staged { mut import, deleted_at: _, stored } = staged;
    let mut kept = held(scope, &import).await?;
    if kept < stored.len() {
        kept += take_back(scope, key, &import, new, stored).await?;
    }
    let kept = u64::try_from(kept).unwrap_or(u64::MAX);
    import.deleted_at = None;
    import.status = JobStatus::Completed;
    import.count(new, kept);
    import.save(scope).await?;
    Ok(import)
}

/// Gives it up: it is one that was deleted from now on, and the next of its account need not wait.
///
/// # Errors
/// What the database refuses.
pub async fn give_up(scope: &Scope, staged: &Staged, now: Timestamp) -> ApiResult<()> {
    // A chunk whose commit nobody heard of may have moved it on.
    let sql =
        "UPDATE contact_imports SET deleted_at = $4 WHERE account_id = $1 AND id = $2 AND deleted_at >= $3";
    let values = [staged.import.id.into(), staged.deleted_at.micros().into(), now.micros().into()];
    scope.execute(sql, values).await?;
    Ok(())
}

/// Says when it is one that was deleted, if it is still being filled.
async fn move_on(scope: &Scope, staged: &Staged, to: Option<Timestamp>, now: Timestamp) -> ApiResult<()> {
    let sql = "UPDATE contact_imports SET deleted_at = $4 WHERE account_id = $1 AND id = $2 AND deleted_at = $3 \
               AND deleted_at > $5";
    let values = [
        staged.import.id.into(),
        staged.deleted_at.micros().into(),
        to.map(Timestamp::micros).into(),
        now.plus(LEFT_FOR).micros().into(),
    ];
    match scope.execute(sql, values).await? {
        0 => Err(ApiError::unavailable("storing an import took too long")),
        _ => Ok(()),
    }
}

/// Nobody adds addresses or suppresses them until the transaction ends.
async fn hold_addresses(scope: &Scope) -> ApiResult<()> {
    let here = suppressions::hold_addresses(scope).await?;
    if here { Ok(()) } else { Err(ApiError::new(Code::Unauthorized)) }
}

/// How many contacts it has. `ix_contacts_import`
async fn held(scope: &Scope, import: &Model) -> ApiResult<usize> {
    let sql = "SELECT count(*) AS count FROM contacts WHERE account_id = $1 AND contact_import_id = $2 \
               AND deleted_at IS NULL";
    let row = scope.query_one(sql, [import.id.into()]).await?;
    let count: i64 = row.map(|row| row.try_get("", "count")).transpose()?.unwrap_or_default();
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Adds again what was stored, is gone by now, and no other import that is seen has got; answers how many.
async fn take_back(
    scope: &Scope,
    key: &SuppressionKey,
    import: &Model,
    new: &NewImport,
    mut stored: HashSet<Uuid>,
) -> ApiResult<usize> {
    let sql =
        "SELECT id FROM contacts WHERE account_id = $1 AND contact_import_id = $2 AND deleted_at IS NULL";
    for row in scope.query(sql, [import.id.into()]).await? {
        stored.remove(&row.try_get("", "id")?);
    }
    let rare = Rare::ask(scope, import.id).await?;
    let mut back = 0;
    for chunk in new.valid.anew(&stored)? {
        back +=
            contact_rows::insert_chunk(scope, key, import.id, &chunk, rare, import.created_at).await?.len();
    }
    Ok(back)
}
