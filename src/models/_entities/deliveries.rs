//! Entity of table `deliveries`.

use crate::clock::Timestamp;
use crate::models::deliveries::evidence::Heard;
use crate::models::states::DeliveryState;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub enrollment_id: Uuid,
    pub smtp_credential_id: Uuid,
    pub position: i32,
    pub state: DeliveryState,
    pub attempts: i32,
    pub resend: bool,
    pub message_id: String,
    pub provider_message_id: Option<String>,
    pub smtp_reply: Option<String>,
    pub token: Option<Uuid>,
    pub process_id: Option<Uuid>,
    pub reserved_period: Option<Timestamp>,
    pub reserved_day: Option<i64>,
    pub sent_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub heard: Option<Heard>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
