//! `POST /signup`: a new account and its first key.

use axum::debug_handler;
use loco_rs::{controller::Routes, prelude::post};

use crate::{
    errors::ApiResult,
    http::{Created, PublicWrite},
    models::accounts,
    params::signup::Signup,
    views::signup::SignedUp,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/signup", post(create))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn create(write: PublicWrite<Signup>) -> ApiResult<Created<SignedUp>> {
    let (email, name) = write.body.parse()?;
    let made = accounts::sign_up(&write.system, &email, name.as_deref()).await?;
    Ok(Created(made.into()))
}
