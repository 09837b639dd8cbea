//! Entity of table `webhook_deliveries`.

use crate::clock::Timestamp;
use crate::models::states::{EventType, WebhookState};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub webhook_id: Uuid,
    pub event_type: EventType,
    pub payload: String,
    pub state: WebhookState,
    pub tries: i32,
    pub attempts: i32,
    pub due_at: Timestamp,
    pub status_code: Option<i32>,
    pub error: Option<String>,
    pub delivered_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
