//! What somebody held who is gone: claims are given back, marks become uncertain.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    decide::{Ask, decide},
    facts::{self, Holder},
    order, write,
};
use crate::{clock::Timestamp, tenancy::SystemScope};

/// Gives back what was claimed and makes uncertain what was marked. Returns the campaigns that have work again; call it
/// until there are none.
///
/// # Errors
/// What the database refuses; nothing was changed then.
pub async fn void(system: &SystemScope, holder: Holder, now: Timestamp) -> Result<Vec<(Uuid, Uuid)>, DbErr> {
    let ids = facts::held(system, holder).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    order::lock_soon(system).await?;
    order::take(system, &ids, &[], now).await?;
    let held = facts::read(system, &ids, Some(holder), Timestamp::default()).await?;
    let mut changes = Vec::with_capacity(held.len());
    for facts in &held {
        if let (_, Some(change)) = decide(facts, None, &Ask::Void, now) {
            changes.push((facts, change));
        }
    }
    write(system, &changes, now).await?;
    let mut campaigns: Vec<_> = held.iter().map(|facts| (facts.account_id, facts.campaign_id)).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    Ok(campaigns)
}
