//! Reads where a campaign stands for its forecast: counts only, at most one grouped count over its enrollments for what
//! is queued and one for what has begun.

use std::time::Duration;

use uuid::Uuid;

use super::forecast::{FirstSteps, Lane, Plan, Prospect, Waiting};
use crate::{
    clock::Timestamp,
    errors::ApiResult,
    models::{batches, campaigns, periods, sequence_steps, smtp_credentials},
    tenancy::Scope,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Where a campaign stands now. What is not dispatched counts as if it were dispatched now, a pause as if it ended now.
///
/// # Errors
/// `campaign_not_found`.
pub async fn of_campaign(scope: &Scope, campaign_id: Uuid, now: Timestamp) -> ApiResult<Prospect> {
    let campaign = scope.get::<campaigns::Entity>(campaign_id).await?;
    let steps = sequence_steps::of_campaign(scope, campaign_id).await?;
    let delays: Vec<Duration> = steps.iter().map(|step| minutes(step.delay_minutes)).collect();
    let waits = u64::try_from(campaign.min_wait_seconds + campaign.max_wait_seconds).unwrap_or_default();
    let period = periods::current(scope, now).await?;
    let mut first_steps = queued(scope, campaign_id, now).await?;
    let due_at = now.plus(delays.first().copied().unwrap_or_default());
    let undispatched = batches::undispatched(scope, campaign_id, None).await?;
    first_steps.push(FirstSteps { due_at, count: unsigned(undispatched) });
    Ok(Prospect {
        now,
        wait: Duration::from_millis(waits * 500),
        lanes: lanes(scope, campaign_id, now).await?,
        first_steps,
        waiting: waiting(scope, campaign_id, now, delays.len()).await?,
        delays,
        plan: Plan {
            left: unsigned(period.limit - period.sends - period.reserved),
            per_period: unsigned(period.limit),
            ends: period.end,
        },
    })
}

async fn lanes(scope: &Scope, campaign_id: Uuid, now: Timestamp) -> ApiResult<Vec<Lane>> {
    let enabled = smtp_credentials::enabled_of(scope, campaign_id).await?;
    let standings = smtp_credentials::days::standings(scope, &enabled, now).await?;
    let lane = |row: &smtp_credentials::Model| {
        let today = standings.get(&row.id).copied().unwrap_or_default();
        Lane {
            id: row.id,
            free_at: row.next_send_at.max(now),
            left_today: unsigned(i64::from(row.daily_limit) - today.sent_today - today.reserved_today),
            daily_limit: unsigned(row.daily_limit.into()),
        }
    };
    Ok(enabled.iter().map(lane).collect())
}

async fn queued(scope: &Scope, campaign_id: Uuid, now: Timestamp) -> ApiResult<Vec<FirstSteps>> {
    // ix_batches_startable, then ix_enrollments_queued
    let sql = "SELECT b.due_at, COUNT(*) AS count FROM batches b \
               JOIN enrollments e ON e.batch_id = b.id AND e.progress = 'queued' \
               WHERE b.account_id = $1 AND b.campaign_id = $2 AND b.dispatched_at IS NOT NULL AND NOT b.drained \
               GROUP BY b.due_at";
    let rows = scope.query(sql, [campaign_id.into()]).await?;
    let read = |row: &sea_orm::QueryResult| {
        let due_at: Option<Timestamp> = row.try_get("", "due_at")?;
        Ok(FirstSteps { due_at: due_at.unwrap_or(now).max(now), count: unsigned(row.try_get("", "count")?) })
    };
    rows.iter().map(read).collect()
}

/// Claimed ones count as due now. What is uncertain is not planned: nobody knows whether it goes on.
async fn waiting(scope: &Scope, campaign_id: Uuid, now: Timestamp, steps: usize) -> ApiResult<Vec<Waiting>> {
    // ix_enrollments_unfinished
    let sql = "SELECT e.next_position, e.smtp_credential_id, MIN(COALESCE(e.due_at, $3)) AS first_due, \
               MAX(COALESCE(e.due_at, $3)) AS last_due, COUNT(*) AS count FROM enrollments e \
               WHERE e.account_id = $1 AND e.campaign_id = $2 AND e.progress IN ('claimed', 'waiting') \
               GROUP BY e.next_position, e.smtp_credential_id, COALESCE(e.due_at, $3) / $4";
    let rows = scope.query(sql, [campaign_id.into(), now.micros().into(), DAY.into()]).await?;
    let read = |row: &sea_orm::QueryResult| {
        let due = |column| row.try_get::<i64>("", column).map(|due| Timestamp::from_micros(due).max(now));
        let position = usize::try_from(row.try_get::<i32>("", "next_position")?).unwrap_or(1);
        Ok(Waiting {
            lane: row.try_get("", "smtp_credential_id")?,
            position: position.clamp(1, steps.max(1)),
            from: due("first_due")?,
            to: due("last_due")?,
            count: unsigned(row.try_get("", "count")?),
        })
    };
    rows.iter().map(read).collect()
}

fn minutes(minutes: i32) -> Duration {
    Duration::from_secs(u64::try_from(minutes).unwrap_or_default() * 60)
}

/// Nothing where less than nothing is left.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
