//! `GET /usage`: what the account asked for.

use axum::{Json, debug_handler};
use loco_rs::{controller::Routes, prelude::get};

use crate::{
    clock::Timestamp, errors::ApiResult, http::Query, models::usage, params::usage::UsageSince,
    tenancy::Scope, views::usage::Usage,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/usage", get(show))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn show(scope: Scope, Query(query): Query<UsageSince>) -> ApiResult<Json<Usage>> {
    let since = query.parse(Timestamp::now())?;
    let summary = usage::summary(&scope, since).await?;
    Ok(Json(Usage::new(since, summary)))
}
