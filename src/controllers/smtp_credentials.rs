//! SMTP credentials of a campaign.

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
    http::{Created, List, Listed, NoFields, Outside, PathIds, PreparedWrite, Query, Write},
    models::{
        campaigns, mailboxes,
        smtp_credentials::{self, Entity},
    },
    params::smtp_credentials::{Body, Changes, Credential as Given},
    sending::verify,
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::{
        Gone,
        previews::Verified,
        smtp_credentials::{Credential, Enabled, NewCredential},
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/campaigns/{campaign_id}/smtp_credentials", get(list).post(create))
        .add("/campaigns/{campaign_id}/smtp_credentials/{id}", get(show).patch(update).delete(remove))
        .add("/campaigns/{campaign_id}/smtp_credentials/{id}/reenable", post(reenable))
        .add("/campaigns/{campaign_id}/smtp_credentials/{id}/verify", post(verify))
}

fn campaign_id(path: &PathIds) -> ApiResult<Uuid> {
    path.id("campaign_id", campaigns::Entity::MISSING)
}

/// The ids of the campaign and of the credential.
fn ids(path: &PathIds) -> ApiResult<(Uuid, Uuid)> {
    Ok((campaign_id(path)?, path.id("id", Entity::MISSING)?))
}

#[debug_handler(state = AppContext)]
async fn list(scope: Scope, path: PathIds, list: List) -> ApiResult<Listed<Credential>> {
    let rows = smtp_credentials::page(&scope, campaign_id(&path)?, list.page).await?;
    let standings = smtp_credentials::days::standings(&scope, &rows, Timestamp::now()).await?;
    let readings = mailboxes::readings(&scope, &rows).await?;
    let view = |row: smtp_credentials::Model| {
        let standing = standings.get(&row.id).copied().unwrap_or_default();
        let reading = readings.get(&row.id);
        Credential::new(row, standing, reading)
    };
    Ok(list.answer(rows, |row| row.id, view))
}

#[debug_handler(state = AppContext)]
async fn create(
    State(ctx): State<AppContext>,
    path: PathIds,
    PreparedWrite(write): PreparedWrite<Body<Given>>,
) -> ApiResult<Created<NewCredential>> {
    let (state, now) = (AppState::of(&ctx)?, Timestamp::now());
    let campaign = campaign_id(&path)?;
    let made = smtp_credentials::create(&write.scope, &state.sealer, campaign, write.body, now).await?;
    write.after.then(move || state.doorbells.sender.ring());
    Ok(Created(made.into()))
}

#[debug_handler(state = AppContext)]
async fn show(scope: Scope, path: PathIds, _: Query<NoFields>) -> ApiResult<Json<Credential>> {
    let (campaign_id, id) = ids(&path)?;
    let (row, standing) = smtp_credentials::find(&scope, campaign_id, id, Timestamp::now()).await?;
    let reading = mailboxes::readings(&scope, std::slice::from_ref(&row)).await?.remove(&id);
    Ok(Json(Credential::new(row, standing, reading.as_ref())))
}

#[debug_handler(state = AppContext)]
async fn update(
    State(ctx): State<AppContext>,
    path: PathIds,
    PreparedWrite(write): PreparedWrite<Body<Changes>>,
) -> ApiResult<Json<Credential>> {
    let (state, now, scope) = (AppState::of(&ctx)?, Timestamp::now(), &write.scope);
    let (campaign_id, id) = ids(&path)?;
    let (campaign, row) = smtp_credentials::lock(scope, campaign_id, id).await?;
    let changes = write.body.parse(&row)?;
    smtp_credentials::change(scope, &state.sealer, &campaign, &row, changes, now).await?;
    let (row, standing) = smtp_credentials::find(scope, campaign_id, id, now).await?;
    let reading = mailboxes::readings(scope, std::slice::from_ref(&row)).await?.remove(&id);
    write.after.then(move || state.doorbells.sender.ring());
    Ok(Json(Credential::new(row, standing, reading.as_ref())))
}

#[debug_handler(state = AppContext)]
async fn remove(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<Gone>> {
    let (campaign_id, id) = ids(&path)?;
    smtp_credentials::delete(&write.scope, campaign_id, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.sender;
    write.after.then(move || bell.ring());
    Ok(Json(Gone::deleted(id)))
}

#[debug_handler(state = AppContext)]
async fn reenable(
    State(ctx): State<AppContext>,
    path: PathIds,
    write: Write<NoFields>,
) -> ApiResult<Json<Enabled>> {
    let (campaign_id, id) = ids(&path)?;
    let row = smtp_credentials::reenable(&write.scope, campaign_id, id, Timestamp::now()).await?;
    let bell = AppState::of(&ctx)?.doorbells.sender;
    write.after.then(move || bell.ring());
    Ok(Json(row.into()))
}

/// No transaction is open while the servers are talked to.
#[debug_handler(state = AppContext)]
async fn verify(
    State(ctx): State<AppContext>,
    path: PathIds,
    outside: Outside<NoFields>,
) -> ApiResult<Response> {
    let (state, (campaign_id, id)) = (AppState::of(&ctx)?, ids(&path)?);
    let (row, _) = smtp_credentials::find(&outside.scope, campaign_id, id, Timestamp::now()).await?;
    let check = |_| async move { Ok(Json(Verified::from(verify::verify(&state, &row).await?))) };
    outside.errand.run(check).await
}
