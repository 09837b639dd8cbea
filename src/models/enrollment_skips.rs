//! Contacts that enrolling left out, and why.

use sea_orm::{ColumnTrait, QueryFilter, Select};
use uuid::Uuid;

pub use super::_entities::enrollment_skips::{ActiveModel, Column, Entity, Model};
use crate::{
    errors::ApiResult,
    paging::Page,
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(enrollment_skips, NotFound, visible: "(SELECT 1 FROM contacts c WHERE c.id = enrollment_skips.contact_id AND c.deleted_at IS NULL AND (SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = c.contact_import_id) IS NULL) IS NOT NULL");

/// A page of a campaign's skips, newest first.
///
/// # Errors
/// What the database refuses.
pub async fn page(scope: &Scope, campaign_id: Uuid, page: Page) -> ApiResult<Vec<Model>> {
    Ok(page_of(scope, campaign_id, page).all(&scope.db()).await?)
}

/// The query of [`page`]: `ix_enrollment_skips_page`.
pub fn page_of(scope: &Scope, campaign_id: Uuid, page: Page) -> Select<Entity> {
    let rows = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    page.apply(rows, Column::Id)
}
