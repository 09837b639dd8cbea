//! `POST /webhooks/stripe`. Public: who sends it is told by its signature over the raw body.

use axum::{Json, body::Body, debug_handler, extract::State, http::HeaderMap};
use loco_rs::{app::AppContext, controller::Routes, prelude::post};

use crate::{billing::inbound, errors::ApiResult, http::json, state::AppState, views::billing::Received};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/webhooks/stripe", post(receive))
}

/// Stored and answered at once; a job does the work.
#[debug_handler(state = AppContext)]
async fn receive(State(ctx): State<AppContext>, headers: HeaderMap, body: Body) -> ApiResult<Json<Received>> {
    let bytes = json::read_body(&headers, body, json::BODY_LIMIT).await?;
    let header = headers.get("stripe-signature").and_then(|it| it.to_str().ok()).unwrap_or_default();
    inbound::receive(&AppState::of(&ctx)?, header, &bytes).await?;
    Ok(Json(Received { received: true }))
}
