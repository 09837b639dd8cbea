//! Opens: the first load of a message's pixel by somebody who may be a person.
//!
//! Any load proves that the message arrived, and settles one that is uncertain, or would become so. A person's raises the enrollment's
//! status; it stops nothing.

pub mod reader;

use std::sync::Arc;

use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use self::reader::{Reader, reader};
use super::{
    deliveries::{
        self,
        evidence::{Evidence, note},
    },
    states::{DeliveryState, EnrollmentStatus, EventType, Progress},
    tally::{Delta, Tally},
    webhooks::outbox::{self, Happened},
};
use crate::{
    clock::Timestamp,
    db::{Db, RowLock, lock_sql},
    errors::ApiResult,
    tenancy::{Conn, Scope, SystemScope},
};

/// Where an enrollment counts.
#[derive(Clone, Copy, Debug)]
struct Place {
    campaign_id: Uuid,
    batch_id: Uuid,
    /// Whether it was opened before.
    opened: bool,
    /// Whether nobody knows yet what became of its first message, nor has heard of it.
    in_doubt: bool,
}

/// Notes the first open of an enrollment; a later one proves no more than that its first message arrived. What changes nothing,
/// or is of an enrollment that is gone, takes no write transaction. Best effort: the recipient's mail program cannot help a database in trouble.
pub async fn note_first(db: &Db, account_id: Uuid, enrollment_id: Uuid, user_agent: &str, now: Timestamp) {
    if let Err(error) = record_first(db, account_id, enrollment_id, user_agent, now).await {
        tracing::warn!(%error, %enrollment_id, "an open was not recorded");
    }
}

async fn record_first(
    db: &Db,
    account_id: Uuid,
    enrollment_id: Uuid,
    user_agent: &str,
    now: Timestamp,
) -> ApiResult<()> {
    let reading = SystemScope::new(Conn::Pool(db.pool().clone())).account(account_id);
    let Some(place) = find(&reading, enrollment_id).await? else { return Ok(()) };
    let opened = !place.opened && reader(user_agent) == Reader::Person;
    if !opened && !place.in_doubt {
        return Ok(());
    }
    let tx = Arc::new(db.begin().await?);
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(account_id);
    if place.in_doubt {
        settle_first(&scope, enrollment_id, now).await?;
    }
    if opened {
        mark_opened(&scope, enrollment_id, place, now).await?;
    }
    drop(scope);
    Ok(tx.commit_shared().await?)
}

/// The enrollment's place, unless it, its contact or its campaign is deleted.
async fn find(scope: &Scope, enrollment_id: Uuid) -> ApiResult<Option<Place>> {
    // Every table by its primary key; uq_deliveries_step
    let sql = "SELECT e.campaign_id, e.batch_id, e.opened_at IS NOT NULL AS opened, \
               (e.sent_at IS NULL AND e.progress IN ('claimed', 'uncertain') AND EXISTS (SELECT 1 FROM deliveries d \
                WHERE d.account_id = $1 AND d.enrollment_id = $2 AND d.position = 1 \
                AND (d.state = 'uncertain' OR (d.state = 'sending' AND d.heard IS NULL)))) AS in_doubt \
               FROM enrollments e \
               JOIN contacts c ON c.id = e.contact_id AND c.deleted_at IS NULL \
               JOIN contact_imports ci ON ci.id = c.contact_import_id AND ci.deleted_at IS NULL \
               JOIN campaigns ca ON ca.id = e.campaign_id AND ca.deleted_at IS NULL \
               WHERE e.account_id = $1 AND e.id = $2";
    let Some(row) = scope.query_one(sql, [enrollment_id.into()]).await? else { return Ok(None) };
    Ok(Some(Place {
        campaign_id: row.try_get("", "campaign_id")?,
        batch_id: row.try_get("", "batch_id")?,
        opened: row.try_get("", "opened")?,
        in_doubt: row.try_get("", "in_doubt")?,
    }))
}

/// What was opened had arrived: that of the first step, since the pixel does not say which message it was in.
async fn settle_first(scope: &Scope, enrollment_id: Uuid, now: Timestamp) -> ApiResult<()> {
    use deliveries::{Column, Entity};
    // uq_deliveries_step
    let first = scope.find::<Entity>().filter(Column::EnrollmentId.eq(enrollment_id));
    let states = [DeliveryState::Sending, DeliveryState::Uncertain];
    let first = first.filter(Column::Position.eq(1)).filter(Column::State.is_in(states));
    let Some(delivery) = first.one(&scope.db()).await? else { return Ok(()) };
    note(scope, &delivery, Evidence::Arrived, now).await
}

/// Locks in the order that everybody keeps: campaign, batch, totals, enrollment. Only then is the enrollment's state known.
async fn mark_opened(scope: &Scope, enrollment_id: Uuid, place: Place, now: Timestamp) -> ApiResult<()> {
    let Place { campaign_id, batch_id, opened: _, in_doubt: _ } = place;
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let campaign = format!("SELECT id FROM campaigns WHERE account_id = $1 AND id = $2{lock}");
    scope.query_one(&campaign, [campaign_id.into()]).await?;
    let batch = format!("SELECT id FROM batches WHERE account_id = $1 AND id = $2{lock}");
    scope.query_one(&batch, [batch_id.into()]).await?;
    let totals =
        format!("SELECT campaign_id FROM campaign_totals WHERE account_id = $1 AND campaign_id = $2{lock}");
    scope.query_one(&totals, [campaign_id.into()]).await?;
    let row = format!(
        "SELECT status, progress FROM enrollments WHERE account_id = $1 AND id = $2 AND opened_at IS NULL{lock}"
    );
    let Some(row) = scope.query_one(&row, [enrollment_id.into()]).await? else { return Ok(()) };
    let (status, progress) = (row.try_get("", "status")?, row.try_get("", "progress")?);
    let mut tally = Tally::default();
    tally.add(batch_id, campaign_id, delta(status, progress));
    tally.write(scope).await?;
    let raised =
        if status.rank() < EnrollmentStatus::Opened.rank() { EnrollmentStatus::Opened } else { status };
    let sql = "UPDATE enrollments SET opened_at = $3, status = $4 WHERE account_id = $1 AND id = $2";
    scope.execute(sql, [enrollment_id.into(), now.micros().into(), raised.as_str().into()]).await?;
    let opened = Happened { event: EventType::EnrollmentOpened, enrollment_id, position: None };
    outbox::enrollments(scope, &[opened], now).await?;
    Ok(())
}

/// An open may be seen before the send itself is recorded. A finished row that is still pending has left the count of
/// pending ones already.
fn delta(status: EnrollmentStatus, progress: Progress) -> Delta {
    let mut delta = Delta::reached(EnrollmentStatus::Opened);
    if status == EnrollmentStatus::Pending && progress != Progress::Finished {
        delta.pending = -1;
    }
    delta
}
