//! Steps of a campaign, in their order.

use sea_orm::{ColumnTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

pub use super::_entities::sequence_steps::{ActiveModel, Column, Entity, Model};
use crate::{
    clock::{Timestamp, new_id},
    errors::ApiResult,
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(sequence_steps, NotFound);

/// The most steps of a campaign.
pub const MOST_STEPS: usize = 20;

/// A checked step: its templates parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStep {
    /// Its place, from 1.
    pub position: i32,
    /// The subject's template.
    pub subject: String,
    /// The HTML body's template.
    pub body_html: String,
    /// The plain body's template; derived from the HTML where it is missing.
    pub body_text: Option<String>,
    /// How long after the previous step (the first: after dispatch) it is due, in minutes.
    pub delay_minutes: i32,
}

/// The steps of a campaign by position.
///
/// # Errors
/// What the database refuses.
pub async fn of_campaign(scope: &Scope, campaign_id: Uuid) -> ApiResult<Vec<Model>> {
    // uq_sequence_steps_position
    let steps = scope.find::<Entity>().filter(Column::CampaignId.eq(campaign_id));
    Ok(steps.order_by_asc(Column::Position).all(&scope.db()).await?)
}

/// Gives a campaign these steps in place of any that it has.
///
/// # Errors
/// What the database refuses.
pub async fn replace(scope: &Scope, campaign_id: Uuid, steps: Vec<NewStep>, now: Timestamp) -> ApiResult<()> {
    scope.delete::<Entity>().filter(Column::CampaignId.eq(campaign_id)).exec(&scope.db()).await?;
    let rows = steps.into_iter().map(|step| {
        let NewStep { position, subject, body_html, body_text, delay_minutes } = step;
        Model {
            id: new_id(),
            account_id: scope.account_id(),
            campaign_id,
            position,
            subject,
            body_html,
            body_text,
            delay_minutes,
            created_at: now,
        }
    });
    Ok(scope.insert_all::<Entity>(rows.collect()).await?)
}
