//! Outbound webhooks: where an account is told of events, and what became of them.

use axum::{Json, debug_handler, extract::State, response::Response};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Accepted, Created, List, Listed, NoFields, Outside, PathIds, PreparedWrite, Query, Write},
    models::{
        webhook_deliveries,
        webhooks::{self, Column, Entity},
    },
    params::webhooks::{Body, Changes, NewWebhook as Given},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        webhooks::{Delivery, DeliveryDetail, NewWebhook, Rotated, Webhook},
    },
    webhooks::trial,
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/webhooks", get(list).post(create))
        .add("/webhooks/{id}", axum::routing::patch(update).delete(remove))
        .add("/webhooks/{id}/rotate_secret", post(rotate_secret))
        .add("/webhooks/{id}/test", post(test))
        .add("/webhooks/{id}/deliveries", get(deliveries))
        .add("/webhooks/{id}/deliveries/{delivery_id}", get(delivery))
        .add("/webhooks/{id}/deliveries/{delivery_id}/redeliver", post(redeliver))
}

fn webhook_id(path: &PathIds) -> ApiResult<Uuid> {
    path.id("id", Entity::MISSING)
}

fn delivery_id(path: &PathIds) -> ApiResult<Uuid> {
    path.id("delivery_id", webhook_deliveries::Entity::MISSING)
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, list: List) -> ApiResult<Listed<Webhook>> {
    let rows = list.page.apply(scope.find::<Entity>(), Column::Id).all(&scope.db()).await?;
    Ok(list.answer(rows, |row| row.id, Webhook::from))
}

#[debug_handler(state = AppContext)]
async fn create(
    State(ctx): State<AppContext>,
    PreparedWrite(write): PreparedWrite<Body<Given>>,
) -> ApiResult<Created<NewWebhook>> {
    let (sealer, (url, filters)) = (AppState::of(&ctx)?.sealer, write.body?);
    let (row, secret) = webhooks::create(&write.scope, &sealer, &url, &filters, Timestamp::now()).await?;
    Ok(Created(NewWebhook::new(row, &secret)))
}

#[debug_handler(state = AppContext)]
async fn update(
    State(ctx): State<AppContext>,
    path: PathIds,
    PreparedWrite(write): PreparedWrite<Body<Changes>>,
) -> ApiResult<Json<Webhook>> {
    let row = webhooks::lock(&write.scope, webhook_id(&path)?).await?;
    let row = webhooks::change(&write.scope, row.id, write.body?).await?;
    let bell = AppState::of(&ctx)?.doorbells.webhooks;
    write.after.then(move || bell.ring());
    Ok(Json(row.into()))
}

#[debug_handler(state = AppContext)]
async fn remove(path: PathIds, write: Write<NoFields>) -> ApiResult<Json<Gone>> {
    let id = webhook_id(&path)?;
    webhooks::delete(&write.scope, id, Timestamp::now()).await?;
    Ok(Json(Gone::deleted(id)))
}

#[debug_handler(state = AppContext)]
async fn rotate_secret(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<Rotated>> {
    let (id, sealer) = (webhook_id(&path)?, AppState::of(&ctx)?.sealer);
    let secret = webhooks::rotate_secret(&write.scope, &sealer, id).await?;
    Ok(Json(Rotated::new(id, &secret)))
}

/// No transaction is open while the endpoint is talked to.
#[debug_handler(state = AppContext)]
async fn test(
    State(ctx): State<AppContext>,
    path: PathIds,
    outside: Outside<NoFields>,
) -> ApiResult<Response> {
    let Outside { scope, errand, .. } = outside;
    let (state, row) = (AppState::of(&ctx)?, scope.get::<Entity>(webhook_id(&path)?).await?);
    let send = |id| async move { Ok(Json(Delivery::from(trial::send(&scope, &state, &row, id).await?))) };
    errand.run(send).await
}

#[debug_handler(state = AppContext)]
async fn deliveries(path: PathIds, scope: Scope, list: List) -> ApiResult<Listed<Delivery>> {
    let rows = webhook_deliveries::page(&scope, webhook_id(&path)?, list.page).await?;
    Ok(list.answer(rows, |row| row.id, Delivery::from))
}

#[debug_handler(state = AppContext)]
async fn delivery(path: PathIds, scope: Scope, _: Query<NoFields>) -> ApiResult<Json<DeliveryDetail>> {
    let (webhook, id) = (webhook_id(&path)?, delivery_id(&path)?);
    let (row, attempts) = webhook_deliveries::find(&scope, webhook, id).await?;
    Ok(Json(DeliveryDetail::new(row, attempts)))
}

#[debug_handler(state = AppContext)]
async fn redeliver(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Accepted<Delivery>> {
    let (webhook, id) = (webhook_id(&path)?, delivery_id(&path)?);
    let row = webhook_deliveries::redeliver(&write.scope, webhook, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.webhooks;
    write.after.then(move || bell.ring());
    Ok(Accepted(row.into()))
}
