//! `GET /status`: is the service up, and does its database answer?

use axum::{Json, debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    errors::{ApiError, ApiResult},
    http::{NoFields, Query},
    views::status::Status,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/status", get(show))
}

#[debug_handler(state = AppContext)]
async fn show(_: Query<NoFields>, State(ctx): State<AppContext>) -> ApiResult<Json<Status>> {
    ctx.db.ping().await.map_err(ApiError::unavailable)?;
    Ok(Json(Status::well()))
}
