//! What somebody held who is gone: claims are given back, marks become uncertain where nothing came back for them.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    Owner,
    decide::{Ask, decide},
    events::Events,
    facts::{self, Holder},
    order, write,
};
use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    tenancy::SystemScope,
};

/// Says of up to 500 enrollments who held them, where that is a dead process of a version that said so in the delivery alone:
/// it may have run while, or after, [ADR 20](../../../docs/adr/0020-an-outcome-writes-no-index.md) was migrated to. `void`
/// finds them then. Answers how many. `ix_enrollments_held`, then `uq_deliveries_step`
///
/// # Errors
/// What the database refuses.
pub async fn name_dead_holders(system: &SystemScope) -> Result<u64, DbErr> {
    let lock = match lock_sql(system.backend(), RowLock::UpdateSkipLocked) {
        "" => String::new(),
        lock => lock.replace("FOR UPDATE", "FOR UPDATE OF e"),
    };
    let sql = format!(
        "UPDATE enrollments SET process_id = found.holder FROM (SELECT e.id AS enrollment_id, d.process_id AS holder \
         FROM enrollments e CROSS JOIN deliveries d WHERE e.progress = 'claimed' AND e.process_id IS NULL \
         AND d.account_id = e.account_id AND d.enrollment_id = e.id AND d.state IN ('claimed', 'sending') \
         AND d.process_id IN (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL) LIMIT 500{lock}) found \
         WHERE enrollments.id = found.enrollment_id"
    );
    system.execute(&sql, []).await
}

/// Whether any enrollment is claimed without a name. `ix_enrollments_held`
///
/// # Errors
/// What the database refuses.
pub async fn are_holders_unnamed(system: &SystemScope) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS one FROM enrollments WHERE progress = 'claimed' AND process_id IS NULL LIMIT 1";
    Ok(system.query_one(sql, []).await?.is_some())
}

/// Gives back what was claimed and makes uncertain what was marked, or settles it by what came back meanwhile. Returns the
/// campaigns that have work again; call it until there are none.
///
/// # Errors
/// What the database refuses; nothing was changed then.
pub async fn void(system: &SystemScope, holder: Holder, now: Timestamp) -> Result<Vec<(Uuid, Uuid)>, DbErr> {
    let (ids, owners): (Vec<Uuid>, Vec<Owner>) = facts::held(system, holder).await?.into_iter().unzip();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    order::lock_soon(system).await?;
    order::take(system, owners, &[], now).await?;
    let held = facts::read(system, &ids, Some(holder), Timestamp::default()).await?;
    let mut changes = Vec::with_capacity(held.len());
    let mut events = Events::default();
    for facts in &held {
        if let (_, Some(change)) = decide(facts, None, &Ask::Void, now) {
            events.add(facts, &change);
            changes.push((facts, change));
        }
    }
    write(system, &changes, now).await?;
    events.write(system, now).await?;
    let mut campaigns: Vec<_> = held.iter().map(|facts| (facts.account_id, facts.campaign_id)).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    Ok(campaigns)
}
