//! Entity of table `credential_days`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credential_days")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub smtp_credential_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i64,
    pub account_id: Uuid,
    pub reserved: i32,
    pub first_sends: i32,
    pub sends: i32,
    pub bounced: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
