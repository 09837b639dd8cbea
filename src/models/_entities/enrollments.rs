//! Entity of table `enrollments`.

use crate::clock::Timestamp;
use crate::models::states::EnrollmentStatus;
use crate::models::states::Progress;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "enrollments")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub campaign_id: Uuid,
    pub contact_id: Uuid,
    pub batch_id: Uuid,
    pub batch_number: i32,
    pub priority: i32,
    pub smtp_credential_id: Option<Uuid>,
    pub lane_moved: bool,
    pub status: EnrollmentStatus,
    pub progress: Progress,
    pub next_position: i32,
    pub current_step: i32,
    pub due_at: Option<Timestamp>,
    pub retrying: bool,
    pub sent_at: Option<Timestamp>,
    pub opened_at: Option<Timestamp>,
    pub replied_at: Option<Timestamp>,
    pub bounced_at: Option<Timestamp>,
    pub unsubscribed_at: Option<Timestamp>,
    pub bounce_reason: Option<String>,
    pub auto_replied_at: Option<Timestamp>,
    pub process_id: Option<Uuid>,
    pub created_at: Timestamp,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
