//! Senders that bounce too much are taken out, before their provider does it. A reconciler: it reads what the lanes'
//! days say, and doing it twice, or in two processes, does it once.

use crate::{
    clock::Timestamp,
    db::Db,
    errors::ApiResult,
    models::smtp_credentials::health,
    tenancy::{Conn, SystemScope},
};

/// Disables the lanes that bounce too much now, each in a transaction of its own; answers how many.
///
/// # Errors
/// What the database refuses; those before are done.
pub async fn disable_sick(db: &Db, now: Timestamp) -> ApiResult<u32> {
    let mut disabled = 0;
    for (account, lane) in health::sick(&SystemScope::new(Conn::Pool(db.pool().clone())), now).await? {
        let done = SystemScope::in_transaction(db, async |system| {
            health::disable_if_sick(&system.account(account), lane, now).await
        })
        .await?;
        if let Some(done) = done {
            disabled += 1;
            tracing::warn!(%lane, paused = done.paused.is_some(), "credential disabled: too many bounces");
        }
    }
    Ok(disabled)
}
