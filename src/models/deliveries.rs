//! Deliveries: one step for one enrollment, and what it means that one was accepted.
//!
//! [`accept`] is the one account of it for a single row; who resolves an uncertain delivery uses it, and evidence does.

pub mod evidence;
mod resolve;
pub mod uncertain;

pub use resolve::{Resolution, resolve};

use std::time::Duration;

use sea_orm::{ColumnTrait, QueryFilter, Select, sea_query::Expr};
use uuid::Uuid;

pub use super::_entities::deliveries::{ActiveModel, Column, Entity, Model};
use super::{
    enrollments,
    states::{DeliveryState, EnrollmentStatus, EventType, Progress},
    tally::{Delta, Tally},
    webhooks::outbox::{self, Happened},
};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    paging::Page,
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(deliveries, NotFound);

/// An id of a provider that is shorter, and has no `@`, is what a server counts its queue by: others may have the same, and no
/// notice names a message so.
pub const LEAST_PROVIDER_ID: usize = 16;

/// Whether what a server called a message may name it elsewhere.
pub fn is_distinct(provider_id: &str) -> bool {
    provider_id.len() >= LEAST_PROVIDER_ID || provider_id.contains('@')
}

/// `<uuid@domain>`: made once for a delivery and kept for all its attempts.
pub fn message_id(delivery: Uuid, domain: &str) -> String {
    format!("<{}@{domain}>", delivery.simple())
}

/// The delivery that a [`message_id`] may be of.
pub fn named_by(message_id: &str) -> Option<Uuid> {
    let (id, _) = message_id.strip_prefix('<')?.split_once('@')?;
    Uuid::try_parse(id).ok()
}

/// A page of a campaign's deliveries, newest first, of all states or of those given.
///
/// # Errors
/// What the database refuses.
pub async fn page(
    scope: &Scope,
    campaign_id: Uuid,
    page: Page,
    states: Option<Vec<DeliveryState>>,
) -> ApiResult<Vec<Model>> {
    Ok(page_of(scope, campaign_id, page, states.as_deref()).all(&scope.db()).await?)
}

/// The query of [`page`]. `ix_deliveries_page`; of a state that one row in a million may have, its own partial index in
/// the same order, which is used only where its own words are in the query.
pub fn page_of(
    scope: &Scope,
    campaign_id: Uuid,
    page: Page,
    states: Option<&[DeliveryState]>,
) -> Select<Entity> {
    let rows = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    let rows = match states {
        None => rows,
        Some([only]) if only.is_stage() => {
            rows.filter(Expr::cust(format!("deliveries.stage = '{}'", only.as_str())))
        }
        Some(states) => rows.filter(Column::State.is_in(states.iter().copied())),
    };
    page.apply(rows, Column::Id)
}

/// A delivery of a campaign.
///
/// # Errors
/// `not_found`.
pub async fn of_campaign(scope: &Scope, campaign_id: Uuid, id: Uuid) -> ApiResult<Model> {
    let row = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id)).filter(Column::Id.eq(id));
    let row = row.one(&scope.db()).await?;
    row.ok_or_else(|| ApiError::new(Entity::MISSING))
}

/// A delivery and its enrollment, both locked.
#[derive(Clone, Debug)]
pub struct Held {
    /// The delivery.
    pub delivery: Model,
    /// Its enrollment.
    pub enrollment: enrollments::Model,
}

/// Turns what was reserved for a message into a send, of the period and of the lane's day. `counted`: the message is
/// known to have been accepted, and so weighs in the lane's health.
///
/// # Errors
/// What the database refuses.
pub async fn spend_reservation(
    scope: &Scope,
    delivery: &Model,
    counted: bool,
    now: Timestamp,
) -> ApiResult<()> {
    if let Some(period) = delivery.reserved_period {
        // The primary key of account_periods.
        let sql = "UPDATE account_periods SET reserved = reserved - 1, sends = sends + 1 \
                   WHERE account_id = $1 AND period_start = $2";
        scope.execute(sql, [period.micros().into()]).await?;
    }
    let first = i32::from(delivery.position == 1 && delivery.reserved_day.is_some());
    let day = delivery.reserved_day.unwrap_or_else(|| now.day());
    if first == 0 && !counted {
        return Ok(());
    }
    // The primary key of credential_days. The row is there where something is reserved.
    let sql = "INSERT INTO credential_days (account_id, smtp_credential_id, day, first_sends, sends) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (smtp_credential_id, day) DO UPDATE SET \
               reserved = credential_days.reserved - $4, first_sends = credential_days.first_sends + $4, \
               sends = credential_days.sends + $5";
    let lane = delivery.smtp_credential_id;
    scope.execute(sql, [lane.into(), day.into(), first.into(), i32::from(counted).into()]).await?;
    Ok(())
}

/// What comes after an accepted step: the next one and when it is due, if the sequence goes on.
async fn next_step(scope: &Scope, held: &Held, now: Timestamp) -> ApiResult<Option<(i32, Timestamp)>> {
    if held.enrollment.status.stops() || is_gone(scope, held.enrollment.contact_id).await? {
        return Ok(None);
    }
    // uq_sequence_steps_position
    let sql = "SELECT position, delay_minutes FROM sequence_steps WHERE account_id = $1 AND campaign_id = $2 \
               AND position > $3 ORDER BY position LIMIT 1";
    let values = [held.enrollment.campaign_id.into(), held.delivery.position.into()];
    let Some(row) = scope.query_one(sql, values).await? else { return Ok(None) };
    let minutes: i32 = row.try_get("", "delay_minutes")?;
    let delay = Duration::from_secs(u64::try_from(minutes).unwrap_or_default() * 60);
    Ok(Some((row.try_get("", "position")?, now.plus(delay))))
}

/// Whether a contact takes no more mail: unsubscribed, or deleted with or without its import.
async fn is_gone(scope: &Scope, contact_id: Uuid) -> ApiResult<bool> {
    // uq_contacts_account, uq_contact_imports_account
    let sql = "SELECT 1 AS here FROM contacts c JOIN contact_imports i ON i.id = c.contact_import_id \
               WHERE c.account_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND i.deleted_at IS NULL \
               AND c.unsubscribed_at IS NULL";
    Ok(scope.query_one(sql, [contact_id.into()]).await?.is_none())
}

/// What an accepted step changes in the counters; pure.
fn accepted_delta(held: &Held) -> Delta {
    let enrollment = &held.enrollment;
    let mut delta = Delta::NONE;
    if enrollment.sent_at.is_none() {
        delta.sent = 1;
        delta.sent_or_bounced = i64::from(enrollment.bounced_at.is_none());
    }
    if enrollment.status == EnrollmentStatus::Pending {
        delta.pending = -1;
    }
    if held.delivery.state == DeliveryState::Uncertain {
        delta.uncertain = -1;
    }
    delta
}

/// Settles a delivery as accepted at `now`: quota, counters, the enrollment's next step, the delivery. Answers when the
/// next step is due. The campaign must be locked by who may complete it with this.
///
/// # Errors
/// What the database refuses.
pub async fn accept(scope: &Scope, held: &Held, now: Timestamp) -> ApiResult<Option<Timestamp>> {
    spend_reservation(scope, &held.delivery, true, now).await?;
    let enrollment = &held.enrollment;
    let mut tally = Tally::default();
    tally.add(enrollment.batch_id, enrollment.campaign_id, accepted_delta(held));
    tally.write(scope).await?;
    let next = next_step(scope, held, now).await?;
    let (progress, position) = match next {
        Some((position, _)) => (Progress::Waiting, position),
        None => (Progress::Finished, enrollment.next_position),
    };
    let sql = "UPDATE enrollments SET current_step = $3, sent_at = COALESCE(sent_at, $4), status = $5, progress = $6, \
               next_position = $7, due_at = $8, retrying = $9 WHERE account_id = $1 AND id = $2";
    let due_at = next.map(|(_, due_at)| due_at);
    let values = [
        enrollment.id.into(),
        enrollment.current_step.max(held.delivery.position).into(),
        now.micros().into(),
        enrollment.status.raised_to(EnrollmentStatus::Sent).as_str().into(),
        progress.as_str().into(),
        position.into(),
        due_at.map(Timestamp::micros).into(),
        false.into(),
    ];
    scope.execute(sql, values).await?;
    let sql = "UPDATE deliveries SET state = 'sent', sent_at = $3, token = NULL, process_id = NULL, \
               reserved_period = NULL, reserved_day = NULL WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [held.delivery.id.into(), now.micros().into()]).await?;
    let position = Some(held.delivery.position);
    let sent = Happened { event: EventType::EnrollmentSent, enrollment_id: enrollment.id, position };
    outbox::enrollments(scope, &[sent], now).await?;
    Ok(due_at)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_message_id_names_its_delivery() {
        let id = Uuid::from_u128(7);
        let made = message_id(id, "sender.example");
        assert_eq!(made, "<00000000000000000000000000000007@sender.example>");
        assert_eq!(named_by(&made), Some(id));
    }

    #[rstest]
    #[case("")]
    #[case("<>")]
    #[case("<0196757a3a007000@x.example>")]
    #[case("00000000000000000000000000000007@x.example")]
    #[case("<00000000000000000000000000000007>")]
    #[case("<CAFx@mail.example>")]
    fn what_is_not_ours_names_none(#[case] message_id: &str) {
        assert_eq!(named_by(message_id), None);
    }

    #[rstest]
    #[case("4XyZ1k0abcz9", false)]
    #[case("4XyZ1k0abcz9abc", false)]
    #[case("1rXyZ2-000000-1k", true)]
    #[case("0102018f3a5b7c1d-1a2b3c4d-5e6f", true)]
    #[case("a@b.example", true)]
    fn a_number_of_a_queue_names_nothing_elsewhere(#[case] id: &str, #[case] distinct: bool) {
        assert_eq!(is_distinct(id), distinct);
    }
}
