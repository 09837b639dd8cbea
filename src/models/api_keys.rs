//! API keys: made once, shown once, looked up by their digest.

mod lookups;

use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

pub use super::_entities::api_keys::{Column, Entity, Model};
use super::states::ClientKind;
use crate::{
    clock::{Timestamp, new_id},
    crypto::ApiKeyPlaintext,
    db::{self, Db},
    errors::{ApiError, Code, Failures, Reason},
    tenancy::{Caller, Scope, SystemScope, TenantEntity, tenant_entity},
};
pub use lookups::KeyLookups;

tenant_entity!(api_keys, ApiKeyNotFound, visible: "api_keys.revoked_at IS NULL");

/// How many active keys an account may have.
const MOST: usize = 100;
/// `last_used_at` is written at most this often per key, in microseconds.
const LAST_USED_EVERY: i64 = 60_000_000;

/// Finds the active key with this digest, and says whether the use that is stored of it is so old that this one is to
/// be stored ([`note_use`]).
///
/// # Errors
/// `unauthorized` when there is none, or its account is gone.
pub async fn authenticate(
    lookups: &KeyLookups,
    db: &Db,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<(Caller, bool), ApiError> {
    let (caller, last_used) = lookups.find(db, digest).await?;
    Ok((caller, last_used.is_none_or(|last| now.micros() - last >= LAST_USED_EVERY)))
}

/// Stores that keys were used, in one transaction; `ids` in their order, which is the order of locks. Guarded, so that of
/// many processes one writes.
///
/// # Errors
/// What the database refuses.
pub async fn note_use(db: &Db, ids: &[Uuid], now: Timestamp) -> Result<(), ApiError> {
    let before = now.micros() - LAST_USED_EVERY;
    // In here: whoever waits for it keeps what was not stored.
    db::in_time(SystemScope::in_transaction(db, async |system| {
        for id in ids {
            system
                .execute(
                    "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 \
                     AND (last_used_at IS NULL OR last_used_at <= $3)",
                    [(*id).into(), now.into(), before.into()],
                )
                .await?;
        }
        Ok::<(), ApiError>(())
    }))
    .await
}

/// Makes one more key; its plaintext exists only in the answer.
///
/// # Errors
/// `validation_failed` past the bound of active keys.
pub async fn issue(
    scope: &Scope,
    label: &str,
    client_kind: ClientKind,
) -> Result<(Model, ApiKeyPlaintext), ApiError> {
    if lock_active(scope).await?.len() >= MOST {
        let phrase = format!("has the most API keys it may have ({MOST})");
        return Err(Failures::one("account", Reason::Other(phrase.into())));
    }
    make(scope, label, client_kind).await
}

/// Makes a key of an account that is new, and so under no bound yet.
///
/// # Errors
/// What the database refuses.
pub async fn make(
    scope: &Scope,
    label: &str,
    client_kind: ClientKind,
) -> Result<(Model, ApiKeyPlaintext), ApiError> {
    let plaintext = ApiKeyPlaintext::generate();
    let row = Model {
        id: new_id(),
        account_id: scope.account_id(),
        digest: plaintext.digest().to_vec(),
        prefix: plaintext.prefix().to_owned(),
        label: label.to_owned(),
        client_kind,
        last_used_at: None,
        created_at: Timestamp::now(),
        revoked_at: None,
    };
    scope.insert::<Entity>(row.clone()).await?;
    Ok((row, plaintext))
}

/// Revokes a key at once, on every node: the next look-up does not find it.
///
/// # Errors
/// `api_key_not_found`; `cannot_revoke_last_key` when no other is active.
pub async fn revoke(scope: &Scope, id: Uuid) -> Result<(), ApiError> {
    let ids = lock_active(scope).await?;
    if !ids.contains(&id) {
        return Err(ApiError::new(Entity::MISSING));
    }
    if ids.len() == 1 {
        return Err(ApiError::new(Code::CannotRevokeLastKey));
    }
    scope
        .update::<Entity>()
        .col_expr(Column::RevokedAt, Timestamp::now().micros().into())
        .filter(Column::Id.eq(id))
        .exec(&scope.db())
        .await?;
    Ok(())
}

/// The active keys, locked together: two keys that revoke each other at the same time must not both succeed, and of two
/// that would be the hundredth only one is made.
async fn lock_active(scope: &Scope) -> Result<Vec<Uuid>, ApiError> {
    let active = "SELECT id FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL ORDER BY id";
    let lock = crate::db::lock_sql(scope.backend(), crate::db::RowLock::Update);
    scope.query(&format!("{active}{lock}"), []).await?;
    // A statement of its own sees the keys that were made while the first one waited.
    let rows = scope.query(active, []).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}
