//! Events of Stripe: stored once each by Stripe's id, as they came, and noted when their work is done.

use std::time::Duration;

use uuid::Uuid;

use crate::{clock::Timestamp, errors::ApiResult, tenancy::SystemScope};

/// How long an event is kept: longer than Stripe goes on asking for the money of one invoice.
const KEPT: Duration = Duration::from_secs(120 * 86_400);

/// A stored event whose work may be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The body as it came.
    pub payload: String,
    /// Whether its work is done.
    pub done: bool,
}

/// Stores an event, with the account that its customer is by now: it names a person, and goes with the account whether its
/// work is ever done or not. `false` when it is there already.
///
/// # Errors
/// What the database refuses.
pub async fn keep(
    system: &SystemScope,
    (id, kind): (&str, &str),
    payload: &str,
    account_id: Option<Uuid>,
    now: Timestamp,
) -> ApiResult<bool> {
    let sql = "INSERT INTO stripe_events (id, kind, payload, account_id, received_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (id) DO NOTHING";
    let values = [id.into(), kind.into(), payload.into(), account_id.into(), now.micros().into()];
    Ok(system.execute(sql, values).await? > 0)
}

/// A stored event.
///
/// # Errors
/// What the database refuses.
pub async fn find(system: &SystemScope, id: &str) -> ApiResult<Option<Stored>> {
    let row = system
        .query_one("SELECT payload, processed_at FROM stripe_events WHERE id = $1", [id.into()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let done = row.try_get::<Option<Timestamp>>("", "processed_at")?.is_some();
    Ok(Some(Stored { payload: row.try_get("", "payload")?, done }))
}

/// Notes that an event's work is done, for whom, and how it ended. What is of no account is not kept in full: it may name
/// a person, and no account that is erased would take it along.
///
/// # Errors
/// What the database refuses.
pub async fn conclude(
    system: &SystemScope,
    id: &str,
    account_id: Option<Uuid>,
    outcome: &'static str,
    now: Timestamp,
) -> ApiResult<()> {
    let payload = if account_id.is_some() { "payload" } else { "''" };
    let sql = &format!(
        "UPDATE stripe_events SET processed_at = $2, outcome = $3, account_id = $4, payload = {payload} WHERE id = $1"
    );
    system.execute(sql, [id.into(), now.micros().into(), outcome.into(), account_id.into()]).await?;
    Ok(())
}

/// Has this event be the one because of which the owner is told of an invoice; `false` when one was before it. Two at a
/// time: the second waits, and fails at `uq_stripe_events_invoice` or finds the first.
///
/// # Errors
/// What the database refuses.
pub async fn claim_invoice(system: &SystemScope, id: &str, invoice: &str) -> ApiResult<bool> {
    let sql = "UPDATE stripe_events SET mailed_invoice = $2 WHERE id = $1 \
               AND NOT EXISTS (SELECT 1 FROM stripe_events o WHERE o.mailed_invoice = $2)";
    Ok(system.execute(sql, [id.into(), invoice.into()]).await? > 0)
}

/// Deletes up to `most` events that were kept for long enough; answers how many. `ix_stripe_events_received`
///
/// # Errors
/// What the database refuses.
pub async fn purge(system: &SystemScope, now: Timestamp, most: u32) -> ApiResult<u64> {
    let sql = "DELETE FROM stripe_events WHERE id IN \
               (SELECT id FROM stripe_events WHERE received_at < $1 ORDER BY received_at LIMIT $2)";
    Ok(system.execute(sql, [now.minus(KEPT).micros().into(), i64::from(most).into()]).await?)
}
