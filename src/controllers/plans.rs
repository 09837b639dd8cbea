//! `GET /plans`: what everybody may buy.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    errors::ApiResult,
    http::{NoFields, Query},
    models::plans,
    state::AppState,
    views::billing::PlanOffer,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/plans", get(list))
}

#[debug_handler(state = AppContext)]
async fn list(_: Query<NoFields>, State(ctx): State<AppContext>) -> ApiResult<Json<Vec<PlanOffer>>> {
    let plans = plans::listed(&AppState::of(&ctx)?.reads()).await?;
    Ok(Json(plans.into_iter().map(PlanOffer::from).collect()))
}
