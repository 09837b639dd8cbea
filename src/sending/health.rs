//! Senders that bounce too much are taken out, before their provider does it. A reconciler: it reads what the lanes'
//! days say, and doing it twice, or in two processes, does it once.

use crate::{
    clock::Timestamp,
    db::{self, Db},
    errors::ApiResult,
    models::smtp_credentials::health,
    tenancy::{Conn, SystemScope},
};

/// Disables the lanes that bounce too much now, each for itself and in a transaction of its own: what somebody keeps locked of
/// one account keeps no lane of another. Answers how many.
///
/// # Errors
/// What the database refuses of the first that it refused; all others are done.
pub async fn disable_sick(db: &Db, now: Timestamp) -> ApiResult<u32> {
    let (mut disabled, mut refused) = (0, Ok(()));
    let reads = SystemScope::new(Conn::Pool(db.pool().clone()));
    for (account, lane) in db::in_time(health::sick(&reads, now)).await? {
        let done = db::in_time(SystemScope::in_transaction(db, async |system| {
            health::disable_if_sick(&system.account(account), lane, now).await
        }));
        match done.await {
            Ok(Some(done)) => {
                disabled += 1;
                tracing::warn!(%lane, paused = done.paused.is_some(), "credential disabled: too many bounces");
            }
            Ok(None) => {}
            Err(error) => refused = refused.and(Err(error)),
        }
    }
    refused.map(|()| disabled)
}
