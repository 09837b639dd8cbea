//! Campaigns: making, looking at, changing, holding and deleting them.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Created, List, Listed, NoFields, PathIds, PreparedWrite, Query, Write},
    models::campaigns::{self, Entity},
    params::campaigns::{Body, Campaign as NewCampaign, Changes, Filters},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        campaigns::{Campaign, CampaignState, CampaignSummary},
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/campaigns", get(list).post(create))
        .add("/campaigns/{id}", get(show).patch(update).delete(remove))
        .add("/campaigns/{id}/pause", post(pause))
        .add("/campaigns/{id}/resume", post(resume))
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, list: List<Filters>) -> ApiResult<Listed<CampaignSummary>> {
    let (status, outreach_id) = list.filters.parse()?;
    let rows = campaigns::page(&scope, list.page, status, outreach_id).await?;
    Ok(list.answer(rows, |row| row.id, CampaignSummary::from))
}

#[debug_handler(state = AppContext)]
async fn create(
    State(ctx): State<AppContext>,
    PreparedWrite(write): PreparedWrite<Body<NewCampaign>>,
) -> ApiResult<Created<CampaignState>> {
    let outreach_id = write.body.outreach_id()?;
    campaigns::check_outreach(&write.scope, outreach_id).await?;
    let new = write.body.parse()?;
    let sealer = AppState::of(&ctx)?.sealer;
    let made = campaigns::create(&write.scope, &sealer, new, outreach_id, Timestamp::now()).await?;
    Ok(Created(made.into()))
}

#[debug_handler(state = AppContext)]
async fn show(scope: Scope, path: PathIds, _: Query<NoFields>) -> ApiResult<Json<Campaign>> {
    let row = scope.get::<Entity>(path.id("id", Entity::MISSING)?).await?;
    Ok(Json(campaigns::overview::read(&scope, row, Timestamp::now()).await?.into()))
}

#[debug_handler(state = AppContext)]
async fn update(
    path: PathIds,
    PreparedWrite(write): PreparedWrite<Body<Changes>>,
) -> ApiResult<Json<Campaign>> {
    let (scope, now) = (&write.scope, Timestamp::now());
    let row = campaigns::lock(scope, path.id("id", Entity::MISSING)?).await?;
    campaigns::check_outreach(scope, write.body.outreach_id()?.flatten()).await?;
    campaigns::change(scope, &row, write.body.parse(&row)?, now).await?;
    let row = scope.get::<Entity>(row.id).await?;
    Ok(Json(campaigns::overview::read(scope, row, now).await?.into()))
}

#[debug_handler(state = AppContext)]
async fn remove(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    campaigns::delete(&write.scope, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.sweeper;
    write.after.then(move || bell.ring());
    Ok(Json(Gone::deleted(id)))
}

#[debug_handler(state = AppContext)]
async fn pause(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<CampaignState>> {
    let id = path.id("id", Entity::MISSING)?;
    let row = campaigns::pause(&write.scope, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.webhooks;
    write.after.then(move || bell.ring());
    Ok(Json(row.into()))
}

#[debug_handler(state = AppContext)]
async fn resume(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<CampaignState>> {
    let id = path.id("id", Entity::MISSING)?;
    let resumed = campaigns::resume(&write.scope, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.sender;
    write.after.then(move || bell.ring());
    Ok(Json(resumed.into()))
}
