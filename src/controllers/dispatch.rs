//! `POST /campaigns/:id/dispatch`: releases what was enrolled.

use axum::{debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::post};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Accepted, LateWrite, PathIds},
    models::{batches, campaigns},
    params::enrollments::Dispatch,
    sending::standing,
    state::AppState,
    tenancy::TenantEntity,
    views::enrollments::DispatchStarted,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/campaigns/{id}/dispatch", post(dispatch))
}

#[debug_handler(state = AppContext)]
async fn dispatch(
    State(ctx): State<AppContext>,
    path: PathIds,
    late: LateWrite<Dispatch>,
) -> ApiResult<Accepted<DispatchStarted>> {
    // A million batches are released at once: it shares its commit with nobody.
    let write = late.begin().await?;
    let (scope, now) = (&write.scope, Timestamp::now());
    let id = path.id("id", campaigns::Entity::MISSING)?;
    let campaign = campaigns::lock(scope, id).await?;
    let number = write.body.parse()?;
    let dispatched = batches::dispatch(scope, &campaign, number, now).await?;
    let estimate = standing::estimate_of(scope, &dispatched, now).await?;
    let bell = AppState::of(&ctx)?.doorbells.sender;
    write.after.then(move || bell.ring());
    Ok(Accepted(DispatchStarted::new(&dispatched, &estimate)))
}
