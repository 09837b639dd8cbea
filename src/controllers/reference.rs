//! `GET /openapi.json`: what the API takes and answers, for programs.

use axum::{debug_handler, http::header, response::IntoResponse};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    http::{NoFields, Query},
    openapi,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/openapi.json", get(document))
}

#[debug_handler(state = AppContext)]
async fn document(_: Query<NoFields>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text())
}
