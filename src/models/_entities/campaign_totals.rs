//! Entity of table `campaign_totals`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaign_totals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub campaign_id: Uuid,
    pub account_id: Uuid,
    pub pending: i64,
    pub sent: i64,
    pub opened: i64,
    pub replied: i64,
    pub bounced: i64,
    pub unsubscribed: i64,
    pub sent_or_bounced: i64,
    pub uncertain: i64,
    pub mx_invalid: i64,
    pub cross_campaign: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
