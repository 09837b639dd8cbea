//! Entity of table `batches`.

use crate::clock::Timestamp;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batches")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub batch_number: i32,
    pub dispatched_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    pub drained: bool,
    pub undispatched: i64,
    pub pending: i64,
    pub sent: i64,
    pub opened: i64,
    pub replied: i64,
    pub bounced: i64,
    pub unsubscribed: i64,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
