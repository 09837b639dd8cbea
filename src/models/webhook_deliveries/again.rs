//! Many deliveries sent once more, as an operator asks after an endpoint, or a network, was away.

use sea_orm::Value;
use uuid::Uuid;

use super::first_id_at;
use crate::{
    clock::Timestamp,
    db::key_lock_sql,
    errors::ApiResult,
    models::sql::{holes, uuids},
    tenancy::SystemScope,
};

/// Deliveries of one transaction.
const BATCH: i64 = 500;

/// Which are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those of events since then.
    pub since: Timestamp,
    /// Those of one account.
    pub account_id: Option<Uuid>,
    /// Those to one webhook.
    pub webhook_id: Option<Uuid>,
    /// Those that arrived as well; else those that were given up.
    pub arrived_too: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many will be sent again.
    pub redelivered: u64,
    /// How many will not: their webhook is disabled.
    pub disabled: u64,
    /// Where the next batch begins; `None`: there is none.
    pub last: Option<Uuid>,
}

/// Has a batch sent again, now and with all tries anew. Ids sort by creation, so the primary key finds them. Their webhooks
/// are locked first, in their order, as by whoever changes one.
///
/// # Errors
/// What the database refuses.
pub async fn redeliver(
    system: &SystemScope,
    wanted: &Wanted,
    after: Option<Uuid>,
    now: Timestamp,
) -> ApiResult<Batch> {
    let found = find(system, wanted, after).await?;
    let mut webhooks: Vec<Uuid> = found.iter().map(|row| row.webhook_id).collect();
    webhooks.sort_unstable();
    webhooks.dedup();
    let enabled = lock_enabled(system, &webhooks).await?;
    let ids: Vec<Uuid> =
        found.iter().filter(|row| enabled.contains(&row.webhook_id)).map(|row| row.id).collect();
    if !ids.is_empty() {
        let sql = format!(
            "UPDATE webhook_deliveries SET state = 'pending', tries = 0, due_at = $1 WHERE state <> 'pending' \
             AND id IN ({})",
            holes(2, ids.len())
        );
        let values = std::iter::once(Value::from(now.micros())).chain(uuids(&ids));
        system.execute(&sql, values).await?;
    }
    let whole = i64::try_from(found.len()).is_ok_and(|count| count == BATCH);
    Ok(Batch {
        redelivered: ids.len() as u64,
        disabled: (found.len() - ids.len()) as u64,
        last: found.last().filter(|_| whole).map(|row| row.id),
    })
}

struct Found {
    id: Uuid,
    webhook_id: Uuid,
}

async fn find(system: &SystemScope, wanted: &Wanted, after: Option<Uuid>) -> ApiResult<Vec<Found>> {
    let states = if wanted.arrived_too { "'failed', 'delivered'" } else { "'failed'" };
    let from = after.unwrap_or_else(|| first_id_at(wanted.since));
    let mut values: Vec<Value> = vec![from.into(), BATCH.into()];
    let mut filters = Vec::new();
    for (column, id) in [("account_id", wanted.account_id), ("webhook_id", wanted.webhook_id)] {
        if let Some(id) = id {
            values.push(id.into());
            filters.push(format!(" AND d.{column} = ${}", values.len()));
        }
    }
    let sql = format!(
        "SELECT d.id, d.webhook_id FROM webhook_deliveries d JOIN webhooks h ON h.id = d.webhook_id \
         AND h.deleted_at IS NULL WHERE d.id > $1 AND d.state IN ({states}) \
         AND d.event_type <> 'webhook.test'{} ORDER BY d.id LIMIT $2",
        filters.concat()
    );
    let rows = system.query(&sql, values).await?;
    rows.iter()
        .map(|row| Ok(Found { id: row.try_get("", "id")?, webhook_id: row.try_get("", "webhook_id")? }))
        .collect()
}

/// Locks these webhooks; answers those that are enabled.
async fn lock_enabled(system: &SystemScope, ids: &[Uuid]) -> ApiResult<Vec<Uuid>> {
    // Events that are being written for them hold their keys only.
    let lock = key_lock_sql(system.backend());
    let sql = format!(
        "SELECT id FROM webhooks WHERE id IN ({}) AND disabled_at IS NULL AND deleted_at IS NULL ORDER BY id{lock}",
        holes(1, ids.len())
    );
    let rows = system.query(&sql, uuids(ids)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}
