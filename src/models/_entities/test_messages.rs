//! Entity of table `test_messages`.

use crate::clock::Timestamp;
use crate::models::states::TestState;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "test_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub smtp_credential_id: Uuid,
    pub email: String,
    pub position: i32,
    pub state: TestState,
    pub message_id: String,
    pub smtp_reply: Option<String>,
    pub reserved_period: Option<Timestamp>,
    pub locked_until: Timestamp,
    pub run_id: Option<Uuid>,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
