//! Contacts of the account.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{app::AppContext, controller::Routes, prelude::get};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{List, Listed, NoFields, PathIds, Query, Write},
    models::contacts::{self, Entity, Listing},
    params::contacts::{ContactChange, ContactFilters},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        contacts::{Contact, ContactDetail},
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new().add("/contacts", get(list)).add("/contacts/{id}", get(show).patch(update).delete(delete))
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, list: List<ContactFilters>) -> ApiResult<Listed<Contact>> {
    let listing = list.filters.email.as_deref().map_or(Listing::All, Listing::Address);
    let rows = contacts::page(&scope, list.page, listing).await?;
    Ok(list.answer(rows, |row| row.id, Contact::from))
}

#[debug_handler(state = AppContext)]
async fn show(path: PathIds, scope: Scope, _: Query<NoFields>) -> ApiResult<Json<ContactDetail>> {
    let (contact, campaigns) = contacts::shown(&scope, path.id("id", Entity::MISSING)?).await?;
    Ok(Json(ContactDetail::new(contact, campaigns)))
}

#[debug_handler(state = AppContext)]
async fn update(
    path: PathIds,
    State(ctx): State<AppContext>,
    write: Write<ContactChange>,
) -> ApiResult<Json<ContactDetail>> {
    let (scope, key) = (write.scope, AppState::of(&ctx)?.suppression_key);
    let id = scope.get::<Entity>(path.id("id", Entity::MISSING)?).await?.id;
    contacts::update(&scope, &key, id, write.body.parse()?).await?;
    let (contact, campaigns) = contacts::shown(&scope, id).await?;
    Ok(Json(ContactDetail::new(contact, campaigns)))
}

#[debug_handler(state = AppContext)]
async fn delete(path: PathIds, write: Write<NoFields>) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    contacts::delete(&write.scope, id, Timestamp::now()).await?;
    Ok(Json(Gone::deleted(id)))
}
