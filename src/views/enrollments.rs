//! Enrollments, what was left out, and what enrolling and dispatching answer.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        batches::Dispatched,
        enroll_jobs, enrollment_skips,
        enrollments::{self, Skipped},
        states::{CampaignStatus, EnrollmentStatus, JobStatus, SkipKind},
    },
    sending::{
        enrolling::Bulk,
        estimate::Estimate,
        waiting::{Standing, WaitingReason},
    },
};

/// Skips that an answer shows.
const SHOWN_SKIPS: usize = 1000;

/// What bulk enrolling did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BulkEnrolled {
    enrolled: i64,
    batches: i32,
    batch_size: i32,
    skipped: Vec<Skip>,
    skipped_count: i64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Skip {
    contact_id: Uuid,
    email: String,
    reason: SkipKind,
}

impl From<Skipped> for Skip {
    fn from(skip: Skipped) -> Self {
        let Skipped { contact_id, email, kind } = skip;
        Self { contact_id, email, reason: kind }
    }
}

impl From<Bulk> for BulkEnrolled {
    fn from(bulk: Bulk) -> Self {
        let Bulk { enrolled, batches, batch_size, skipped, skipped_count } = bulk;
        let skipped = skipped.into_iter().take(SHOWN_SKIPS).map(Skip::from).collect();
        Self { enrolled, batches, batch_size, skipped, skipped_count }
    }
}

/// A large import that is being enrolled.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrollJob {
    id: Uuid,
    status: JobStatus,
    processed: i64,
    #[serde(flatten)]
    done: Option<BulkEnrolled>,
}

impl EnrollJob {
    /// The job, with what was skipped once it is completed.
    #[expect(clippy::needless_pass_by_value, reason = "a view takes its row whole")]
    pub fn new(row: enroll_jobs::Model, skipped: Vec<Skipped>) -> Self {
        let enroll_jobs::Model {
            id,
            account_id: _,
            campaign_id: _,
            contact_import_id: _,
            batch_size,
            status,
            position: _,
            processed,
            enrolled,
            skipped_count,
            batch_number: _,
            batches,
            created_at: _,
        } = row;
        let done = Bulk { enrolled, batches, batch_size, skipped, skipped_count };
        let done = (status == JobStatus::Completed).then(|| done.into());
        Self { id, status, processed, done }
    }
}

/// That a large import will be enrolled.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrollStarted {
    id: Uuid,
    status: JobStatus,
}

impl From<enroll_jobs::Model> for EnrollStarted {
    fn from(enroll_jobs::Model { id, status, .. }: enroll_jobs::Model) -> Self {
        Self { id, status }
    }
}

/// A contact that was enrolled alone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrolledContact {
    id: Uuid,
    contact_id: Uuid,
    batch_number: i32,
    status: EnrollmentStatus,
}

impl From<enrollments::Model> for EnrolledContact {
    fn from(row: enrollments::Model) -> Self {
        let enrollments::Model { id, contact_id, batch_number, status, .. } = row;
        Self { id, contact_id, batch_number, status }
    }
}

/// An enrollment in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Enrollment {
    id: Uuid,
    contact_id: Uuid,
    smtp_credential_id: Option<Uuid>,
    status: EnrollmentStatus,
    batch_number: i32,
    current_step: i32,
    next_send_at: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    opened_at: Option<Timestamp>,
    replied_at: Option<Timestamp>,
    bounced_at: Option<Timestamp>,
    unsubscribed_at: Option<Timestamp>,
    bounce_reason: Option<String>,
    dispatched_at: Option<Timestamp>,
    waiting_reason: Option<WaitingReason>,
}

impl From<Standing> for Enrollment {
    fn from(standing: Standing) -> Self {
        let Standing { row, next_send_at, dispatched_at, waiting_reason } = standing;
        let enrollments::Model {
            id,
            account_id: _,
            campaign_id: _,
            contact_id,
            batch_id: _,
            batch_number,
            priority: _,
            smtp_credential_id,
            lane_moved: _,
            status,
            progress: _,
            next_position: _,
            current_step,
            due_at: _,
            retrying: _,
            sent_at,
            opened_at,
            replied_at,
            bounced_at,
            unsubscribed_at,
            bounce_reason,
            auto_replied_at: _,
            process_id: _,
            created_at: _,
        } = row;
        Self {
            id,
            contact_id,
            smtp_credential_id,
            status,
            batch_number,
            current_step,
            next_send_at,
            sent_at,
            opened_at,
            replied_at,
            bounced_at,
            unsubscribed_at,
            bounce_reason,
            dispatched_at,
            waiting_reason,
        }
    }
}

/// A contact that enrolling left out.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrollmentSkip {
    id: Uuid,
    contact_id: Uuid,
    email: String,
    kind: SkipKind,
    reason: String,
    created_at: Timestamp,
}

impl From<enrollment_skips::Model> for EnrollmentSkip {
    fn from(row: enrollment_skips::Model) -> Self {
        let enrollment_skips::Model {
            id,
            account_id: _,
            campaign_id: _,
            contact_id,
            email,
            kind,
            reason,
            created_at,
        } = row;
        Self { id, contact_id, email, kind, reason, created_at }
    }
}

/// What a dispatch released.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DispatchStarted {
    id: Uuid,
    status: CampaignStatus,
    dispatched: i64,
    first_send_at: Timestamp,
    estimated_finish_at: Timestamp,
}

impl DispatchStarted {
    /// The dispatch and when it will be done.
    pub const fn new(dispatched: &Dispatched, estimate: &Estimate) -> Self {
        Self {
            id: dispatched.campaign_id,
            status: CampaignStatus::Active,
            dispatched: dispatched.count,
            first_send_at: estimate.first_send_at,
            estimated_finish_at: estimate.finish_at,
        }
    }
}
