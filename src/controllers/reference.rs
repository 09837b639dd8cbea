//! What the server says about itself: the `OpenAPI` document for programs, the reference and the errors for people.

use axum::{
    debug_handler,
    http::header,
    response::{IntoResponse, Response},
};
use loco_rs::{controller::Routes, prelude::get};

use crate::{
    errors::{ApiError, ApiResult, Code},
    http::{NoFields, PathIds, Query},
    openapi,
    views::docs::{self, Asset},
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/openapi.json", get(document))
        .add("/docs", get(reference))
        .add("/docs/docs.css", get(style))
        .add("/docs/redoc.js", get(redoc))
        .add("/docs/reference.js", get(start))
        .add("/docs/errors", get(errors))
        .add("/docs/errors/{code}", get(error))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn document(_: Query<NoFields>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text())
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn reference(_: Query<NoFields>) -> Response {
    docs::reference()
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn style(_: Query<NoFields>) -> Asset {
    Asset::STYLE
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn redoc(_: Query<NoFields>) -> Asset {
    Asset::REDOC
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn start(_: Query<NoFields>) -> Asset {
    Asset::REFERENCE
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn errors(_: Query<NoFields>) -> Response {
    docs::errors()
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn error(path: PathIds, _: Query<NoFields>) -> ApiResult<Response> {
    let code = Code::parse(path.text("code")?).ok_or_else(|| ApiError::new(Code::NotFound))?;
    Ok(docs::error(code))
}
