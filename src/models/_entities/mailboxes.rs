//! Entity of table `mailboxes`.

use crate::clock::Timestamp;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mailboxes")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub host: String,
    pub port: i32,
    pub username: String,
    pub uid_validity: Option<i64>,
    pub last_uid: i64,
    pub next_poll_at: Timestamp,
    pub last_read_at: Option<Timestamp>,
    pub failures: i32,
    pub last_error: Option<String>,
    pub process_id: Option<Uuid>,
    pub lease_token: Option<Uuid>,
    pub leased_until: Option<Timestamp>,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
