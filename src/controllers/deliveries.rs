//! Deliveries of a campaign, and settling those of which nobody knows what became.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{List, Listed, PathIds, Write},
    models::{campaigns, deliveries},
    params::enrollments::{DeliveryFilters, Resolve},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::deliveries::Delivery,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/campaigns/{id}/deliveries", get(list))
        .add("/campaigns/{id}/deliveries/{delivery_id}/resolve", post(resolve))
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, path: PathIds, list: List<DeliveryFilters>) -> ApiResult<Listed<Delivery>> {
    let states = list.filters.parse()?;
    let id = path.id("id", campaigns::Entity::MISSING)?;
    let campaign = scope.get::<campaigns::Entity>(id).await?;
    let rows = deliveries::page(&scope, campaign.id, list.page, states).await?;
    Ok(list.answer(rows, |row| row.id, Delivery::from))
}

#[debug_handler(state = AppContext)]
async fn resolve(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<Resolve>,
) -> ApiResult<Json<Delivery>> {
    let (scope, now) = (&write.scope, Timestamp::now());
    let campaign = scope.get::<campaigns::Entity>(path.id("id", campaigns::Entity::MISSING)?).await?;
    let delivery =
        deliveries::of_campaign(scope, campaign.id, path.id("delivery_id", deliveries::Entity::MISSING)?)
            .await?;
    let settled = deliveries::resolve(scope, &delivery, write.body.parse()?, now).await?;
    let bells = AppState::of(&ctx)?.doorbells;
    write.after.then(move || {
        bells.sender.ring();
        bells.webhooks.ring();
    });
    Ok(Json(settled.into()))
}
