//! Entity of table `webhooks`.

use crate::clock::Timestamp;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub url: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub event_filters: Json,
    pub secret: Vec<u8>,
    pub consecutive_failures: i32,
    pub failing_since: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub holder: Option<Uuid>,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
