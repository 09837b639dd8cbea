//! Named bulk inserts of contacts.

use axum::{Json, debug_handler, extract::State};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};
use sea_orm::{ColumnTrait, QueryFilter};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Created, List, Listed, NoFields, PathIds, Query, Write},
    models::{
        contact_imports::{self, Column, Entity},
        contacts,
    },
    params::contact_imports::NewContactImport,
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        contact_imports::{ContactImport, ContactImportDetail, NewImport},
        contacts::Contact,
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/contact_imports", post(create).get(list))
        .add("/contact_imports/{id}", get(show).delete(delete))
        .add("/contact_imports/{id}/contacts", get(list_contacts))
}

#[debug_handler(state = AppContext)]
async fn create(
    State(ctx): State<AppContext>,
    write: Write<NewContactImport>,
) -> ApiResult<Created<NewImport>> {
    let key = AppState::of(&ctx)?.suppression_key;
    let made = contact_imports::create(&write.scope, &key, write.body.parse()?, Timestamp::now()).await?;
    Ok(Created(made.into()))
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, list: List) -> ApiResult<Listed<ContactImport>> {
    let rows = list.page.apply(scope.find::<Entity>(), Column::Id).all(&scope.db()).await?;
    Ok(list.answer(rows, |row| row.id, ContactImport::from))
}

#[debug_handler(state = AppContext)]
async fn show(path: PathIds, scope: Scope, _: Query<NoFields>) -> ApiResult<Json<ContactImportDetail>> {
    let import = scope.get::<Entity>(path.id("id", Entity::MISSING)?).await?;
    Ok(Json(import.into()))
}

#[debug_handler(state = AppContext)]
async fn list_contacts(path: PathIds, scope: Scope, list: List) -> ApiResult<Listed<Contact>> {
    let import = scope.get::<Entity>(path.id("id", Entity::MISSING)?).await?;
    // ix_contacts_import
    let rows = scope.find::<contacts::Entity>().filter(contacts::Column::ContactImportId.eq(import.id));
    let rows = list.page.apply(rows, contacts::Column::Id).all(&scope.db()).await?;
    Ok(list.answer(rows, |row| row.id, Contact::from))
}

#[debug_handler(state = AppContext)]
async fn delete(path: PathIds, write: Write<NoFields>) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    contact_imports::delete(&write.scope, id, Timestamp::now()).await?;
    Ok(Json(Gone::deleted(id)))
}
