//! Entity of table `campaigns`.

use crate::clock::Timestamp;
use crate::models::states::CampaignStatus;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "campaigns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub outreach_id: Option<Uuid>,
    pub name: String,
    pub status: CampaignStatus,
    pub min_wait_seconds: i32,
    pub max_wait_seconds: i32,
    pub verify_email_mx: bool,
    pub bounce_rate_threshold: f64,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
