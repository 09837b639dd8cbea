//! What recipients reach: the unsubscribe page and the open pixel. Public, and silent on whether a token is good.
//!
//! Neither the query nor the body says anything here: mail programs choose them (RFC 8058, section 3.2).

use axum::{
    debug_handler,
    extract::State,
    http::{HeaderMap, Method, header},
    response::Response,
};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    clock::Timestamp,
    crypto::links,
    errors::ApiResult,
    http::PathIds,
    models::{opens, suppressions},
    state::AppState,
    views::unsubscribe as pages,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/u/{token}", get(ask).post(unsubscribe)).add("/o/{token}", get(pixel))
}

/// Changes nothing: scanners follow links.
#[debug_handler(state = AppContext)]
async fn ask() -> Response {
    pages::ask()
}

#[debug_handler(state = AppContext)]
async fn unsubscribe(path: PathIds, State(ctx): State<AppContext>) -> ApiResult<Response> {
    let state = AppState::of(&ctx)?;
    if let Some(link) = links::parse_unsubscribe(&state.link_keys, path.text("token")?) {
        let (key, searches) = (&state.suppression_key, &state.searches);
        suppressions::unsubscribe_link(&state.db, key, searches, link, Timestamp::now()).await?;
    }
    Ok(pages::done())
}

/// The recipient gets the picture whatever happens here; `HEAD` records nothing.
#[debug_handler(state = AppContext)]
async fn pixel(
    method: Method,
    path: PathIds,
    headers: HeaderMap,
    State(ctx): State<AppContext>,
) -> ApiResult<Response> {
    let state = AppState::of(&ctx)?;
    let link = links::parse_open(&state.link_keys, path.text("token")?).filter(|_| method == Method::GET);
    if let Some(link) = link {
        let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
        opens::note_first(&state.db, link.account_id, link.enrollment_id, agent, Timestamp::now()).await;
    }
    Ok(pages::pixel())
}
