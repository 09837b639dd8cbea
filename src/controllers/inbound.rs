//! Webhooks of mail providers. Public: the token in the address is the account's own, from `GET /account`.

use axum::{Json, body::Body, debug_handler, extract::State, http::HeaderMap};
use loco_rs::{app::AppContext, controller::Routes, prelude::post};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    crypto::Purpose,
    errors::{ApiError, ApiResult, Code},
    http::{PathIds, json as bodies},
    inbound::{apply, smtp2go},
    state::AppState,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/inbound/smtp2go/{token}", post(smtp2go))
}

/// Unknown fields are allowed, others choose them; events that say nothing to us are taken and forgotten.
#[debug_handler(state = AppContext)]
async fn smtp2go(
    path: PathIds,
    headers: HeaderMap,
    State(ctx): State<AppContext>,
    body: Body,
) -> ApiResult<Json<Value>> {
    let state = AppState::of(&ctx)?;
    let named = state.link_keys.verify(Purpose::InboundSmtp2go, path.text("token")?);
    let account = named.and_then(|bytes| Uuid::from_slice(&bytes).ok()).ok_or_else(unknown)?;
    let reading = apply::reading(&state.db, account).await?.ok_or_else(unknown)?;
    let bytes = bodies::read_body(&headers, body, bodies::BODY_LIMIT).await?;
    let kind = headers.get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let report = smtp2go::read(kind, &bytes)
        .map_err(|_| ApiError::bad_request("The body must be a JSON object or a form"))?;
    if let Some(report) = report {
        apply::apply(&state.db, &state.suppression_key, &reading, &report).await?;
    }
    Ok(Json(json!({ "status": "ok" })))
}

const fn unknown() -> ApiError {
    ApiError::new(Code::NotFound)
}
