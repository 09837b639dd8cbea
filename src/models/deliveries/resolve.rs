//! Settling a delivery of which nobody knows what became, by the word of the account's owner.

use uuid::Uuid;

use super::{Entity, Held, Model, accept, spend_reservation};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    models::{
        campaigns, enrollments, smtp_credentials,
        states::{DeliveryState, Progress},
        tally::{Delta, Tally},
    },
    tenancy::Scope,
};

/// What the owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent.
    Sent,
    /// Send it again, with the same Message-ID.
    Resend,
}

/// Settles an uncertain delivery; answers it as it is then.
///
/// # Errors
/// `campaign_not_found`; `unprocessable` when it is not uncertain, or to be sent again to somebody whose
/// enrollment has ended.
pub async fn resolve(
    scope: &Scope,
    known: &Model,
    resolution: Resolution,
    now: Timestamp,
) -> ApiResult<Model> {
    let campaign_id = known.campaign_id;
    lock_counters(scope, known, now).await?;
    let held = Held {
        enrollment: lock_enrollment(scope, known.enrollment_id).await?,
        delivery: scope.lock::<Entity>(known.id).await?,
    };
    if held.delivery.state != DeliveryState::Uncertain {
        return Err(ApiError::unprocessable("The delivery is not uncertain"));
    }
    let due_at = match resolution {
        Resolution::Sent => accept(scope, &held, now).await?,
        Resolution::Resend => Some(send_again(scope, &held, now).await?),
    };
    match due_at {
        Some(due_at) => smtp_credentials::wake_lanes(scope, campaign_id, due_at).await?,
        None => campaigns::complete_if_done(scope, campaign_id).await.map(|_| ())?,
    }
    scope.get::<Entity>(known.id).await
}

/// The rows that come before enrollments in the lock order: the period, the campaign, its lanes, the lane's day, the
/// batch, the totals.
async fn lock_counters(scope: &Scope, delivery: &Model, now: Timestamp) -> ApiResult<()> {
    let lock = crate::db::lock_sql(scope.backend(), crate::db::RowLock::Update);
    if let Some(period) = delivery.reserved_period {
        let sql = format!(
            "SELECT 1 AS held FROM account_periods WHERE account_id = $1 AND period_start = $2{lock}"
        );
        scope.query(&sql, [period.micros().into()]).await?;
    }
    campaigns::lock(scope, delivery.campaign_id).await?;
    let sql = format!(
        "SELECT id FROM smtp_credentials WHERE account_id = $1 AND campaign_id = $2 ORDER BY id{lock}"
    );
    scope.query(&sql, [delivery.campaign_id.into()]).await?;
    let day = delivery.reserved_day.unwrap_or_else(|| now.day());
    let sql = format!(
        "SELECT 1 AS held FROM credential_days WHERE account_id = $1 AND smtp_credential_id = $2 AND day = $3{lock}"
    );
    scope.query(&sql, [delivery.smtp_credential_id.into(), day.into()]).await?;
    let sql = format!(
        "SELECT b.id FROM batches b WHERE b.account_id = $1 AND b.id = (SELECT e.batch_id FROM enrollments e \
         WHERE e.account_id = $1 AND e.id = $2){lock}"
    );
    scope.query(&sql, [delivery.enrollment_id.into()]).await?;
    let sql =
        format!("SELECT campaign_id FROM campaign_totals WHERE account_id = $1 AND campaign_id = $2{lock}");
    scope.query(&sql, [delivery.campaign_id.into()]).await?;
    Ok(())
}

/// Hidden ones too: a delivery is settled also when its contact was deleted meanwhile.
async fn lock_enrollment(scope: &Scope, id: Uuid) -> ApiResult<enrollments::Model> {
    use sea_orm::{ColumnTrait, QueryFilter, QuerySelect};
    let rows = scope.find_hidden::<enrollments::Entity>().filter(enrollments::Column::Id.eq(id));
    let row = rows.lock_exclusive().one(&scope.db()).await?;
    row.ok_or_else(|| ApiError::internal("a delivery without an enrollment"))
}

/// The uncertain message keeps its place in the limits; the new one will take another.
async fn send_again(scope: &Scope, held: &Held, now: Timestamp) -> ApiResult<Timestamp> {
    let enrollment = &held.enrollment;
    let ended = enrollment.status.stops() || enrollment.progress != Progress::Uncertain;
    if ended || super::is_gone(scope, enrollment.contact_id).await? {
        return Err(ApiError::unprocessable("The enrollment is finished"));
    }
    spend_reservation(scope, &held.delivery, false, now).await?;
    let mut tally = Tally::default();
    tally.add(enrollment.batch_id, enrollment.campaign_id, Delta { uncertain: -1, ..Delta::NONE });
    tally.write(scope).await?;
    let sql = "UPDATE enrollments SET progress = 'waiting', next_position = $3, due_at = $4, retrying = $5 \
               WHERE account_id = $1 AND id = $2";
    let values = [enrollment.id.into(), held.delivery.position.into(), now.micros().into(), false.into()];
    scope.execute(sql, values).await?;
    let sql = "UPDATE deliveries SET state = 'queued', resend = $3, token = NULL, process_id = NULL, \
               reserved_period = NULL, reserved_day = NULL WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [held.delivery.id.into(), true.into()]).await?;
    Ok(now)
}
