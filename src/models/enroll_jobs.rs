//! Large imports that are being enrolled in the background, a slice per transaction.
//!
//! The row says how far it came, and every slice moves it in the transaction that enrolls: a crash resumes where the
//! last commit ended, and two runners of one job cannot enroll a slice twice.

use uuid::Uuid;

pub use super::_entities::enroll_jobs::{ActiveModel, Column, Entity, Model};
use super::{
    enrollments::{DeadDomains, Enrolled, HalfFull, Skipped, Slice, enroll_slice, lock_target, skips_of},
    states::JobStatus,
};
use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult},
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(enroll_jobs, NotFound);

/// Skips that an answer shows.
const SHOWN_SKIPS: i64 = 1000;

/// A job of a campaign, and, once it is completed, whom it left out (the first 1,000).
///
/// # Errors
/// `not_found`.
pub async fn find(scope: &Scope, campaign_id: Uuid, id: Uuid) -> ApiResult<(Model, Vec<Skipped>)> {
    let job = scope.get::<Entity>(id).await?;
    if job.campaign_id != campaign_id {
        return Err(ApiError::new(Entity::MISSING));
    }
    let shown = if job.status == JobStatus::Completed { SHOWN_SKIPS } else { 0 };
    let skipped = skips_of(scope, campaign_id, job.contact_import_id, shown).await?;
    Ok((job, skipped))
}

/// Notes that an import is to be enrolled.
///
/// # Errors
/// What the database refuses.
pub async fn create(
    scope: &Scope,
    campaign_id: Uuid,
    contact_import_id: Uuid,
    batch_size: i32,
    now: Timestamp,
) -> ApiResult<Model> {
    let row = Model {
        id: new_id(),
        account_id: scope.account_id(),
        campaign_id,
        contact_import_id,
        batch_size,
        status: JobStatus::Processing,
        position: None,
        processed: 0,
        enrolled: 0,
        skipped_count: 0,
        batch_number: 0,
        batches: 0,
        created_at: now,
    };
    scope.insert::<Entity>(row.clone()).await?;
    Ok(row)
}

impl Model {
    /// What is to be enrolled next.
    pub const fn slice(&self, limit: u64) -> Slice {
        Slice { import_id: self.contact_import_id, after: self.position, limit }
    }

    /// The batch that the last slice left half full.
    fn half_full(&self) -> Option<HalfFull> {
        let size = i64::from(self.batch_size.max(1));
        let used = self.enrolled % size;
        let room = usize::try_from(size - used).unwrap_or_default();
        (used > 0).then_some(HalfFull { number: self.batch_number, room })
    }

    /// As it stands after a slice that looked at fewer contacts than `limit`, or at so many.
    fn after(self, done: &Enrolled, limit: u64) -> Self {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            status: if done.looked_at < limit { JobStatus::Completed } else { JobStatus::Processing },
            position: done.last.or(self.position),
            processed: self.processed + number(done.looked_at),
            enrolled: self.enrolled + number(done.enrolled),
            skipped_count: self.skipped_count + i64::try_from(done.skipped.len()).unwrap_or(i64::MAX),
            batch_number: done.batch_number.unwrap_or(self.batch_number),
            batches: self.batches.saturating_add(i32::try_from(done.batches).unwrap_or(i32::MAX)),
            ..self
        }
    }
}

/// Enrolls the next slice of a job as it was read before the transaction; answers the job as it stands now, which may
/// be that another runner was faster.
///
/// # Errors
/// `campaign_not_found` when the campaign is gone; what the database refuses.
pub async fn advance(
    scope: &Scope,
    known: Model,
    limit: u64,
    dead: &DeadDomains,
    now: Timestamp,
) -> ApiResult<Model> {
    let target = lock_target(scope, known.campaign_id).await?;
    // Under the campaign's lock, which every runner of this job takes first.
    let job = scope.lock::<Entity>(known.id).await?;
    if job.position != known.position || job.status != JobStatus::Processing {
        return Ok(job);
    }
    let slice = job.slice(limit);
    let done = enroll_slice(scope, &target, slice, job.batch_size, job.half_full(), dead, now).await?;
    let job = job.after(&done, limit);
    save(scope, &job).await?;
    Ok(job)
}

/// Gives a job up.
///
/// # Errors
/// What the database refuses.
pub async fn fail(scope: &Scope, id: Uuid) -> ApiResult<()> {
    let sql = "UPDATE enroll_jobs SET status = 'failed' WHERE account_id = $1 AND id = $2 AND status = 'processing'";
    scope.execute(sql, [id.into()]).await?;
    Ok(())
}

/// Has a job that was given up go on where it ended.
///
/// # Errors
/// What the database refuses.
pub async fn reopen(scope: &Scope, id: Uuid) -> ApiResult<()> {
    let sql = "UPDATE enroll_jobs SET status = 'processing' WHERE account_id = $1 AND id = $2 AND status = 'failed'";
    scope.execute(sql, [id.into()]).await?;
    Ok(())
}

async fn save(scope: &Scope, job: &Model) -> ApiResult<()> {
    let sql = "UPDATE enroll_jobs SET status = $3, position = $4, processed = $5, enrolled = $6, \
               skipped_count = $7, batch_number = $8, batches = $9 WHERE account_id = $1 AND id = $2";
    let values = [
        job.id.into(),
        job.status.as_str().into(),
        job.position.into(),
        job.processed.into(),
        job.enrolled.into(),
        job.skipped_count.into(),
        job.batch_number.into(),
        job.batches.into(),
    ];
    scope.execute(sql, values).await?;
    Ok(())
}
