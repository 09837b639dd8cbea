//! Groups of campaigns.

use axum::{Json, debug_handler};
use loco_rs::{
    controller::Routes,
    prelude::{get, post},
};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Created, List, Listed, NoFields, PathIds, Query, Write},
    models::outreaches::{self, Column, Entity},
    params::outreaches::{NewOutreach, OutreachChange},
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        outreaches::{Outreach, OutreachDetail},
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/outreaches", post(create).get(list))
        .add("/outreaches/{id}", get(show).patch(update).delete(delete))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn create(write: Write<NewOutreach>) -> ApiResult<Created<OutreachDetail>> {
    let (name, unique_contacts) = write.body.parse()?;
    let made = outreaches::create(&write.scope, name, unique_contacts, Timestamp::now()).await?;
    Ok(Created(made.into()))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn list(scope: Scope, list: List) -> ApiResult<Listed<Outreach>> {
    let rows = list.page.apply(scope.find::<Entity>(), Column::Id).all(&scope.db()).await?;
    Ok(list.answer(rows, |row| row.id, Outreach::from))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn show(path: PathIds, scope: Scope, _: Query<NoFields>) -> ApiResult<Json<OutreachDetail>> {
    let detail = outreaches::detail(&scope, path.id("id", Entity::MISSING)?).await?;
    Ok(Json(detail.into()))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn update(path: PathIds, write: Write<OutreachChange>) -> ApiResult<Json<OutreachDetail>> {
    let id = write.scope.get::<Entity>(path.id("id", Entity::MISSING)?).await?.id;
    let (name, unique_contacts) = write.body.parse()?;
    let detail = outreaches::update(&write.scope, id, name, unique_contacts).await?;
    Ok(Json(detail.into()))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn delete(path: PathIds, write: Write<NoFields>) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    outreaches::delete(&write.scope, id).await?;
    Ok(Json(Gone::deleted(id)))
}
