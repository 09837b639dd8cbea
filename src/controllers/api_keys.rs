//! API keys of the account.

use axum::{Json, debug_handler};
use loco_rs::{
    controller::Routes,
    prelude::{delete, get},
};

use crate::{
    errors::ApiResult,
    http::{Created, List, Listed, NoFields, PathIds, Write},
    models::api_keys::{self, Column, Entity},
    params::api_keys::NewApiKey,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        api_keys::{ApiKey, IssuedApiKey},
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/api_keys", get(list).post(create)).add("/api_keys/{id}", delete(revoke))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn list(scope: Scope, list: List) -> ApiResult<Listed<ApiKey>> {
    let rows = list.page.apply(scope.find::<Entity>(), Column::Id).all(&scope.db()).await?;
    Ok(list.answer(rows, |row| row.id, ApiKey::from))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn create(write: Write<NewApiKey>) -> ApiResult<Created<IssuedApiKey>> {
    let (label, client_kind) = write.body.parse()?;
    let (key, plaintext) = api_keys::issue(&write.scope, &label, client_kind).await?;
    Ok(Created(IssuedApiKey::new(key, &plaintext)))
}

#[debug_handler(state = loco_rs::app::AppContext)]
async fn revoke(path: PathIds, write: Write<NoFields>) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    api_keys::revoke(&write.scope, id).await?;
    Ok(Json(Gone::revoked(id)))
}
