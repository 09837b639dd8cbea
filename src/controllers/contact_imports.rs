//! Named bulk inserts of contacts.

use axum::{
    Json, debug_handler,
    extract::State,
    response::{IntoResponse, Response},
};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};

use crate::{
    clock::Timestamp,
    errors::ApiResult,
    http::{Accepted, Created, Given, LateWrite, List, Listed, NoFields, PathIds, Query, StreamWrite, Write},
    imports::{self, Refused},
    metrics,
    models::{
        contact_imports::{self, Column, Entity},
        contacts::{self, Listing},
    },
    params::contact_imports::{NewContactImport, NewTable},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        contact_imports::{ContactImport, ContactImportDetail, NewImport, StartedImport},
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
async fn create(State(ctx): State<AppContext>, given: Given<NewContactImport>) -> ApiResult<Response> {
    let state = AppState::of(&ctx)?;
    Ok(match given {
        Given::Fields(late) => create_of_fields(&state, *late).await?.into_response(),
        Given::Table(upload) => Box::pin(create_of_table(state, *upload)).await?.into_response(),
    })
}

async fn create_of_fields(
    state: &AppState,
    late: LateWrite<NewContactImport>,
) -> ApiResult<Created<NewImport>> {
    let key = &state.suppression_key;
    let (body, behind) = late.open();
    let account_id = behind.scope.account_id();
    let goes_on = async || behind.look_again().await;
    let list = imports::Listed::take(&state.db, account_id, key, body.parse()?, goes_on).await?;
    let write = match behind.begin().await {
        Ok(write) => write,
        Err(error) => {
            list.abandon().await;
            return Err(error);
        }
    };
    let (made, hidden) = list.import(&write.scope, key).await?;
    write.after.then(move || {
        metrics::imported("json");
        if let Some(hidden) = hidden {
            hidden.note_seen();
        }
    });
    Ok(Created(made.into()))
}

async fn create_of_table(state: AppState, upload: StreamWrite) -> ApiResult<Accepted<StartedImport>> {
    let name = upload.query::<NewTable>()?.name.unwrap_or_default();
    let account_id = upload.caller.account_id();
    let (behind, pieces) = upload.open();
    let received = match imports::receive(&state.db, account_id, &name, pieces).await {
        Ok(received) => received,
        Err(Refused { error, head }) => return Err(behind.refuse(error, &head).await),
    };
    let write = match behind.begin().await {
        Ok(write) => write,
        Err(error) => {
            imports::abandon(&state.db, account_id, received.id).await;
            return Err(error);
        }
    };
    let started = imports::start(&write.scope, name, received, Timestamp::now()).await?;
    write.after.then(move || {
        metrics::imported("csv");
        state.doorbells.jobs.ring();
    });
    Ok(Accepted(started.into()))
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
    let rows = contacts::page(&scope, list.page, Listing::Import(import.id)).await?;
    Ok(list.answer(rows, |row| row.id, Contact::from))
}

#[debug_handler(state = AppContext)]
async fn delete(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<Gone>> {
    let id = path.id("id", Entity::MISSING)?;
    contact_imports::delete(&write.scope, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.sweeper;
    write.after.then(move || bell.ring());
    Ok(Json(Gone::deleted(id)))
}
