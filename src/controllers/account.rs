//! `GET /account`: who the key belongs to.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    errors::ApiResult,
    http::{NoFields, Query},
    models::accounts,
    state::AppState,
    tenancy::Scope,
    views::account::Account,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/account", get(show))
}

#[debug_handler(state = AppContext)]
async fn show(scope: Scope, _: Query<NoFields>, State(ctx): State<AppContext>) -> ApiResult<Json<Account>> {
    let account = accounts::current(&scope).await?;
    Ok(Json(Account::new(account, &AppState::of(&ctx)?)))
}
