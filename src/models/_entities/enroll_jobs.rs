//! Entity of table `enroll_jobs`.

use crate::clock::Timestamp;
use crate::models::states::JobStatus;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "enroll_jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub contact_import_id: Uuid,
    pub batch_size: i32,
    pub status: JobStatus,
    pub position: Option<Uuid>,
    pub processed: i64,
    pub enrolled: i64,
    pub skipped_count: i64,
    pub batch_number: i32,
    pub batches: i32,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
