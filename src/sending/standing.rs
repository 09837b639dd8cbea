//! Loads what decisions about waiting and finishing need, once per page or dispatch.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use super::{
    estimate::{Estimate, Lane, Load, estimate},
    waiting::{CampaignFacts, EnrollmentFacts, LaneFacts, Standing, waiting_reason},
};
use crate::{
    clock::Timestamp,
    errors::ApiResult,
    models::{
        batches::{self, Dispatched},
        campaigns,
        enrollments::Model,
        mailboxes, periods, sequence_steps,
        smtp_credentials::{self, days},
        states::Progress,
    },
    tenancy::Scope,
};

/// Adds to a page of a campaign's enrollments what each waits for. `fresh`: how long ago a mailbox may have been read.
///
/// # Errors
/// What the database refuses.
pub async fn of_page(
    scope: &Scope,
    campaign: &campaigns::Model,
    rows: Vec<Model>,
    now: Timestamp,
    fresh: Duration,
) -> ApiResult<Vec<Standing>> {
    let ids = rows.iter().map(|row| row.batch_id);
    let batches = batches::by_id(scope, ids).await?;
    let facts = campaign_facts(scope, campaign, now, fresh).await?;
    Ok(rows.into_iter().map(|row| standing(&facts, &batches, row)).collect())
}

fn standing(campaign: &CampaignFacts, batches: &HashMap<Uuid, batches::Model>, row: Model) -> Standing {
    let batch = batches.get(&row.batch_id);
    let dispatched_at = batch.and_then(|batch| batch.dispatched_at);
    let next_send_at = match row.progress {
        Progress::Queued => batch.and_then(|batch| batch.due_at),
        Progress::Claimed | Progress::Waiting => row.due_at,
        Progress::Uncertain | Progress::Finished => None,
    };
    let facts = EnrollmentFacts {
        progress: row.progress,
        dispatched: dispatched_at.is_some(),
        due_at: next_send_at,
        retrying: row.retrying,
        first_step: row.current_step == 0,
        lane: row.smtp_credential_id,
    };
    Standing { waiting_reason: waiting_reason(campaign, &facts), row, next_send_at, dispatched_at }
}

async fn campaign_facts(
    scope: &Scope,
    campaign: &campaigns::Model,
    now: Timestamp,
    fresh: Duration,
) -> ApiResult<CampaignFacts> {
    let lanes = smtp_credentials::enabled_of(scope, campaign.id).await?;
    let today = days::standings(scope, &lanes, now).await?;
    let readings = mailboxes::readings(scope, &lanes).await?;
    let read_since = now.minus(fresh);
    let unread = |lane: &smtp_credentials::Model| {
        let read_at = readings.get(&lane.id).and_then(|reading| reading.read_at).unwrap_or_default();
        lane.imap_username.is_some() && read_at < read_since
    };
    let facts = |lane: &smtp_credentials::Model| LaneFacts {
        mailbox_unread: unread(lane),
        left_today: left_today(lane, today.get(&lane.id)),
    };
    Ok(CampaignFacts {
        status: campaign.status,
        lanes: lanes.iter().map(|lane| (lane.id, facts(lane))).collect(),
        plan_used_up: periods::current(scope, now).await?.is_used_up(),
        now,
    })
}

fn left_today(lane: &smtp_credentials::Model, today: Option<&days::Standing>) -> i64 {
    let used = today.map_or(0, |today| today.sent_today + today.reserved_today);
    i64::from(lane.daily_limit) - used
}

/// When the messages of a dispatch, and of those before it, will have gone.
///
/// # Errors
/// What the database refuses.
pub async fn estimate_of(scope: &Scope, dispatched: &Dispatched, now: Timestamp) -> ApiResult<Estimate> {
    let campaign = scope.get::<campaigns::Entity>(dispatched.campaign_id).await?;
    let lanes = smtp_credentials::enabled_of(scope, campaign.id).await?;
    let today = days::standings(scope, &lanes, now).await?;
    let steps = sequence_steps::of_campaign(scope, campaign.id).await?;
    let minutes: i64 =
        steps.iter().filter(|step| step.position > 1).map(|step| i64::from(step.delay_minutes)).sum();
    let lane = |lane: &smtp_credentials::Model| Lane {
        next_send_at: lane.next_send_at,
        left_today: left_today(lane, today.get(&lane.id)),
        daily_limit: lane.daily_limit.into(),
    };
    Ok(estimate(&Load {
        now,
        first_steps: batches::dispatched_pending(scope, campaign.id).await?,
        due_at: dispatched.due_at,
        wait_seconds: i64::from(campaign.min_wait_seconds.midpoint(campaign.max_wait_seconds)),
        steps: i64::try_from(steps.len()).unwrap_or(i64::MAX),
        follow_up_delay: Duration::from_secs(u64::try_from(minutes).unwrap_or_default() * 60),
        lanes: lanes.iter().map(lane).collect(),
    }))
}
