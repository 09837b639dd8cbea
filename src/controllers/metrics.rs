//! `GET /metrics`: what Prometheus reads, where the operator switched it on.

use axum::{debug_handler, extract::State, response::IntoResponse};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    errors::{ApiError, ApiResult, Code},
    http::{NoFields, Query, metrics},
    state::AppState,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/metrics", get(show))
}

#[debug_handler(state = AppContext)]
async fn show(_: Query<NoFields>, State(ctx): State<AppContext>) -> ApiResult<impl IntoResponse> {
    if !AppState::of(&ctx)?.settings.metrics.enabled {
        return Err(ApiError::new(Code::NotFound));
    }
    metrics::render(&ctx).await
}
