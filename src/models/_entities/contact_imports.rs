//! Entity of table `contact_imports`.

use crate::clock::Timestamp;
use crate::models::states::JobStatus;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_imports")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub name: String,
    pub status: JobStatus,
    pub record_count: i64,
    pub contact_count: i64,
    pub processed_rows: i64,
    pub skipped: i64,
    pub invalid_count: i64,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub invalid: Option<Json>,
    pub failure: Option<String>,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
