//! Looking ahead: what a campaign's mails look like, when they would go, and sending some as a test.

use axum::{Json, debug_handler, extract::State, response::Response};
use loco_rs::{
    app::AppContext,
    controller::Routes,
    prelude::{get, post},
};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::{ApiResult, Code},
    http::{NoFields, Outside, PathIds, Query, path::parse_id},
    models::{campaigns, sequence_steps},
    params::test_send::TestSend,
    sending::{forecast, preview, prospect, test_send},
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::previews::{Forecast, Preview, TestResults},
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/campaigns/{id}/preview", get(show))
        .add("/campaigns/{id}/send_forecast", get(send_forecast))
        .add("/campaigns/{id}/test_send", post(send))
}

/// The query of a preview.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct For {
    contact_id: Option<String>,
}

fn campaign_id(path: &PathIds) -> ApiResult<Uuid> {
    path.id("id", campaigns::Entity::MISSING)
}

#[debug_handler(state = AppContext)]
async fn show(
    scope: Scope,
    State(ctx): State<AppContext>,
    path: PathIds,
    Query(query): Query<For>,
) -> ApiResult<Json<Preview>> {
    let campaign = scope.get::<campaigns::Entity>(campaign_id(&path)?).await?;
    let contact = query.contact_id.as_deref().map(|id| parse_id(id, Code::ContactNotFound)).transpose()?;
    let to = preview::addressee(&scope, contact).await?;
    let steps = sequence_steps::of_campaign(&scope, campaign.id).await?;
    let (to, rendered) = preview::render_all(steps, to, AppState::of(&ctx)?.settings).await?;
    Ok(Json(Preview::new(to, rendered)))
}

#[debug_handler(state = AppContext)]
async fn send_forecast(scope: Scope, path: PathIds, _: Query<NoFields>) -> ApiResult<Json<Forecast>> {
    let prospect = prospect::of_campaign(&scope, campaign_id(&path)?, Timestamp::now()).await?;
    Ok(Json(forecast::simulate(&prospect).into()))
}

/// No transaction is open while the mail server is talked to, and the work goes on when the client goes away.
#[debug_handler(state = AppContext)]
async fn send(
    State(ctx): State<AppContext>,
    path: PathIds,
    Outside { scope, body, caller, errand }: Outside<TestSend>,
) -> ApiResult<Response> {
    let (state, campaign_id) = (AppState::of(&ctx)?, campaign_id(&path)?);
    scope.get::<campaigns::Entity>(campaign_id).await?;
    let addressee = preview::addressee(&scope, body.contact_id()?).await?;
    let mut steps = sequence_steps::of_campaign(&scope, campaign_id).await?;
    let (emails, position) = body.parse(steps.len())?;
    steps.retain(|step| position.is_none_or(|position| step.position == position));
    let asked = test_send::Asked { campaign_id, steps, addressee, emails };
    let test = test_send::plan(&scope, &state, asked).await?;
    let send = |run_id| async move {
        Ok(Json(TestResults::from(test_send::run(state, caller, test, run_id).await?)))
    };
    errand.run(send).await
}
