//! What an account is on and has sent, and Stripe's pages for it.

use axum::{Json, debug_handler, extract::State, response::Response};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};

use crate::{
    billing::pages,
    clock::Timestamp,
    errors::ApiResult,
    http::{NoFields, Outside, Query},
    models::{accounts, periods},
    params::billing::Checkout,
    state::AppState,
    tenancy::Scope,
    views::billing::{BillingUsage, PageLink, Subscription},
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/billing/subscription", get(subscription))
        .add("/billing/usage", get(usage))
        .add("/billing/checkout", post(checkout))
        .add("/billing/portal", post(portal))
}

#[debug_handler(state = AppContext)]
async fn subscription(
    scope: Scope,
    _: Query<NoFields>,
    State(ctx): State<AppContext>,
) -> ApiResult<Json<Subscription>> {
    let reads = AppState::of(&ctx)?.reads();
    Ok(Json(accounts::billing(&scope, &reads, Timestamp::now()).await?.into()))
}

#[debug_handler(state = AppContext)]
async fn usage(scope: Scope, _: Query<NoFields>) -> ApiResult<Json<BillingUsage>> {
    let now = Timestamp::now();
    let current = periods::current(&scope, now).await?;
    Ok(Json(BillingUsage::new(&current, periods::ended(&scope, now).await?)))
}

/// No transaction is open while Stripe makes the page.
#[debug_handler(state = AppContext)]
async fn checkout(
    State(ctx): State<AppContext>,
    Outside { scope, body, errand, .. }: Outside<Checkout>,
) -> ApiResult<Response> {
    let state = AppState::of(&ctx)?;
    let page = pages::checkout(&scope, &state.reads(), &state, &body.plan_slug()?).await?;
    errand.run(|run_id| async move { Ok(Json(PageLink { url: page.make(run_id).await? })) }).await
}

#[debug_handler(state = AppContext)]
async fn portal(
    State(ctx): State<AppContext>,
    Outside { scope, errand, .. }: Outside<NoFields>,
) -> ApiResult<Response> {
    let page = pages::portal(&scope, &AppState::of(&ctx)?).await?;
    errand.run(|run_id| async move { Ok(Json(PageLink { url: page.make(run_id).await? })) }).await
}
