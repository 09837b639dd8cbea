//! `POST /signup`: a new account and its first key.

use axum::{debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::post};

use crate::{
    billing::customers,
    errors::ApiResult,
    http::{Created, PublicWrite},
    models::accounts,
    params::signup::Signup,
    state::AppState,
    views::signup::SignedUp,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/signup", post(create))
}

#[debug_handler(state = AppContext)]
async fn create(State(ctx): State<AppContext>, write: PublicWrite<Signup>) -> ApiResult<Created<SignedUp>> {
    let (email, name) = write.body.parse()?;
    let made = accounts::sign_up(&write.system, &email, name.as_deref()).await?;
    customers::arrange(&write.system, &AppState::of(&ctx)?, made.account_id).await?;
    Ok(Created(made.into()))
}
