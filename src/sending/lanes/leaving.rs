//! Lanes are left: their rows say then how long they rest, and what was wrong.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, DbErr, QueryFilter as _};
use uuid::Uuid;

use super::{Lane, Rest, waking::next_due};
use crate::{
    clock::Timestamp,
    db::{Db, RowLock, lock_sql},
    errors::ApiResult,
    models::{
        campaigns,
        smtp_credentials::{self, Column},
    },
    sending::ledger,
    tenancy::{Scope, SystemScope},
};

/// Leaves a lane that this process holds. When it is next worth looking at is worked out under the lock of its row: what
/// was dispatched or resumed before is seen, what comes after wakes it again.
///
/// # Errors
/// What the database refuses; the lane is then freed when this process is declared dead, or left again.
pub async fn release(
    db: &Db,
    process: Uuid,
    lane: &Lane,
    (rest, served): (&Rest, bool),
    fresh: Duration,
) -> ApiResult<()> {
    SystemScope::in_transaction(db, async |system| {
        ledger::lock_soon(system).await?;
        hold_campaign(system, lane.campaign_id).await?;
        let now = Timestamp::now();
        let scope = system.account(lane.account_id);
        let rest = unless_corrected(&scope, process, lane, *rest, now).await?;
        let left = leave(system, process, lane, (&rest, served), fresh, now).await?;
        match rest {
            // Left before, and the answer was lost: it may have been enabled again since.
            Rest::Closed { .. } if !left => {}
            Rest::Closed { reason, .. } => {
                let closed = smtp_credentials::disable(&scope, lane.credential_id, reason, now).await?;
                if let Some(closed) = closed {
                    let paused = closed.paused.is_some();
                    tracing::warn!(lane = %lane.credential_id, reason = reason.as_str(), paused, "credential disabled");
                }
            }
            // Also where it is to be looked at again: whoever took the last place of the plan may have sent the last message.
            Rest::UntilDue => {
                campaigns::complete_if_done(&scope, lane.campaign_id).await?;
            }
            Rest::Pause(_) | Rest::Trouble(_) => {}
        }
        Ok(())
    })
    .await
}

/// A sender that was corrected while its server refused or failed what it was before is tried again. Whoever corrects it
/// locks its campaign, which is locked here, and forgets its failures.
async fn unless_corrected(
    scope: &Scope,
    process: Uuid,
    lane: &Lane,
    rest: Rest,
    now: Timestamp,
) -> Result<Rest, DbErr> {
    if matches!(rest, Rest::UntilDue | Rest::Pause(_)) {
        return Ok(rest);
    }
    let row = scope.find::<smtp_credentials::Entity>().filter(Column::Id.eq(lane.credential_id));
    let corrected = row.one(&scope.db()).await?.is_some_and(|row| match rest {
        Rest::Closed { tried, .. } => !tried.is(&row),
        Rest::Trouble(_) => row.holder == Some(process) && row.failures != lane.failures,
        Rest::UntilDue | Rest::Pause(_) => false,
    });
    if corrected {
        tracing::info!(lane = %lane.credential_id, "a credential was corrected while it was tried");
    }
    Ok(if corrected { Rest::Pause(now) } else { rest })
}

/// Keeps everybody else from the campaign's rows. Deleted ones too: their lanes are left like others.
pub(in crate::sending) async fn hold_campaign(system: &SystemScope, campaign_id: Uuid) -> Result<(), DbErr> {
    let lock = lock_sql(system.backend(), RowLock::Update);
    let sql = format!("SELECT id FROM campaigns WHERE id = $1{lock}");
    system.query(&sql, [campaign_id.into()]).await.map(drop)
}

/// The lane's row as it is left; answers whether it was still held. The pause that a mark stored is never shortened: a lane
/// in trouble may have sent what it marked. Failures that were forgotten meanwhile do not come back, and of a credential
/// that is disabled or deleted nobody looks at the lane.
async fn leave(
    system: &SystemScope,
    process: Uuid,
    lane: &Lane,
    (rest, served): (&Rest, bool),
    fresh: Duration,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let (wake, next_send) = match rest {
        Rest::UntilDue => (next_due(system, lane, now, fresh).await?, None),
        Rest::Pause(until) | Rest::Trouble(until) => (Some(until.micros()), Some(until.micros())),
        Rest::Closed { .. } => (None, None),
    };
    let failures = match rest {
        Rest::Trouble(_) if served => 1,
        Rest::Trouble(_) => lane.failures.saturating_add(1),
        Rest::UntilDue | Rest::Pause(_) | Rest::Closed { .. } if served => 0,
        Rest::UntilDue | Rest::Pause(_) | Rest::Closed { .. } => lane.failures,
    };
    let left = system
        .execute(
            "UPDATE smtp_credentials SET holder = NULL, \
             wake_at = CASE WHEN disabled_at IS NOT NULL OR deleted_at IS NOT NULL THEN NULL \
                 WHEN $4 < next_send_at THEN next_send_at ELSE $3 END, \
             next_send_at = CASE WHEN $4 > next_send_at THEN $4 ELSE next_send_at END, \
             failures = CASE WHEN failures = $6 THEN $5 ELSE failures END WHERE id = $1 AND holder = $2",
            [
                lane.credential_id.into(),
                process.into(),
                wake.into(),
                next_send.into(),
                failures.into(),
                lane.failures.into(),
            ],
        )
        .await?;
    if left == 0 {
        tracing::warn!(lane = %lane.credential_id, "a lane was no longer held when it was left");
    }
    Ok(left > 0)
}
