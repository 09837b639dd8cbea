//! Enrollments: one contact in one campaign.

mod choose;
mod enroll;
mod stop;

pub use choose::{Candidate, DeadDomains, HalfFull, Share, Skipped, domain_of};
pub use enroll::{
    CHUNK, Enrolled, OneContact, Slice, Target, domains, enroll_one, enroll_slice, lock_target, skips_of,
};
pub use stop::{Stop, stop_address, stop_contacts, stop_one, stop_some};

pub use super::_entities::enrollments::{ActiveModel, Column, Entity, Model};
use sea_orm::{ColumnTrait, QueryFilter, Select};
use uuid::Uuid;

use super::states::EnrollmentStatus;
use crate::{
    errors::ApiResult,
    paging::Page,
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(enrollments, NotFound, visible: "(SELECT 1 FROM contacts c WHERE c.id = enrollments.contact_id AND c.deleted_at IS NULL AND (SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = c.contact_import_id) IS NULL) IS NOT NULL");

/// A page of a campaign's enrollments, newest first.
///
/// # Errors
/// What the database refuses.
pub async fn page(
    scope: &Scope,
    campaign_id: Uuid,
    page: Page,
    status: Option<EnrollmentStatus>,
    batch_number: Option<i32>,
) -> ApiResult<Vec<Model>> {
    Ok(page_of(scope, campaign_id, page, status, batch_number).all(&scope.db()).await?)
}

/// The query of [`page`]. `ix_enrollments_page`, `ix_enrollments_status`, `ix_enrollments_batch_number`: each in the order
/// of the page.
pub fn page_of(
    scope: &Scope,
    campaign_id: Uuid,
    page: Page,
    status: Option<EnrollmentStatus>,
    batch_number: Option<i32>,
) -> Select<Entity> {
    let mut rows = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    if let Some(status) = status {
        rows = rows.filter(Column::Status.eq(status));
    }
    if let Some(number) = batch_number {
        rows = rows.filter(Column::BatchNumber.eq(number));
    }
    page.apply(rows, Column::Id)
}
