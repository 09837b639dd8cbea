//! Enrolling contacts, and the enrollments of a campaign.

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
    http::{Accepted, Created, LateWrite, List, Listed, NoFields, PathIds, Query},
    models::{campaigns, enroll_jobs, enrollment_skips, enrollments},
    params::enrollments::{Enroll, EnrollContact, EnrollmentFilters},
    sending::{
        enrolling::{self, Outcome},
        standing,
    },
    state::AppState,
    tenancy::{Scope, TenantEntity},
    views::enrollments::{
        BulkEnrolled, EnrollJob, EnrollStarted, EnrolledContact, Enrollment, EnrollmentSkip,
    },
};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::new()
        .add("/campaigns/{campaign_id}/enroll", post(enroll))
        .add("/campaigns/{campaign_id}/enroll_contact", post(enroll_contact))
        .add("/campaigns/{campaign_id}/enroll_jobs/{id}", get(show_job))
        .add("/campaigns/{campaign_id}/enrollments", get(list))
        .add("/campaigns/{campaign_id}/enrollment_skips", get(list_skips))
}

async fn campaign_of(scope: &Scope, path: &PathIds) -> ApiResult<campaigns::Model> {
    scope.get::<campaigns::Entity>(path.id("campaign_id", campaigns::Entity::MISSING)?).await
}

#[debug_handler(state = AppContext)]
async fn enroll(
    State(ctx): State<AppContext>,
    path: PathIds,
    late: LateWrite<Enroll>,
) -> ApiResult<Response> {
    let (state, campaign) = (AppState::of(&ctx)?, campaign_of(&late.scope, &path).await?);
    enrolling::find_import(&late.scope, late.body.import_id()?).await?;
    let (import_id, batch_size) = late.body.parse()?;
    let ready = enrolling::prepare(&late.scope, &state.mx, &campaign, import_id).await?;
    let write = late.begin().await?;
    let outcome = enrolling::enroll(&write.scope, &ready, batch_size, Timestamp::now()).await?;
    Ok(match outcome {
        Outcome::Done(bulk) => Json(BulkEnrolled::from(bulk)).into_response(),
        Outcome::Started(row) => {
            write.after.then(move || state.doorbells.jobs.ring());
            Accepted(EnrollStarted::from(row)).into_response()
        }
    })
}

#[debug_handler(state = AppContext)]
async fn enroll_contact(
    State(ctx): State<AppContext>,
    path: PathIds,
    late: LateWrite<EnrollContact>,
) -> ApiResult<Created<EnrolledContact>> {
    let (state, campaign) = (AppState::of(&ctx)?, campaign_of(&late.scope, &path).await?);
    let dead = enrolling::check_contact(&late.scope, &state.mx, &campaign, late.body.contact_id()?).await?;
    let one = late.body.parse()?;
    let write = late.begin().await?;
    let row = enrolling::enroll_contact(&write.scope, campaign.id, &one, &dead, Timestamp::now()).await?;
    Ok(Created(row.into()))
}

#[debug_handler(state = AppContext)]
async fn show_job(scope: Scope, path: PathIds, _: Query<NoFields>) -> ApiResult<Json<EnrollJob>> {
    let campaign = campaign_of(&scope, &path).await?;
    let id = path.id("id", enroll_jobs::Entity::MISSING)?;
    let (job, skipped) = enroll_jobs::find(&scope, campaign.id, id).await?;
    Ok(Json(EnrollJob::new(job, skipped)))
}

#[debug_handler(state = AppContext)]
async fn list(
    scope: Scope,
    State(ctx): State<AppContext>,
    path: PathIds,
    list: List<EnrollmentFilters>,
) -> ApiResult<Listed<Enrollment>> {
    let (status, batch_number) = list.filters.parse()?;
    let campaign = campaign_of(&scope, &path).await?;
    let rows = enrollments::page(&scope, campaign.id, list.page, status, batch_number).await?;
    let fresh = AppState::of(&ctx)?.settings.inbox.fresh;
    let rows = standing::of_page(&scope, &campaign, rows, Timestamp::now(), fresh).await?;
    Ok(list.answer(rows, |standing| standing.row.id, Enrollment::from))
}

#[debug_handler(state = AppContext)]
async fn list_skips(scope: Scope, path: PathIds, list: List) -> ApiResult<Listed<EnrollmentSkip>> {
    let campaign = campaign_of(&scope, &path).await?;
    let rows = enrollment_skips::page(&scope, campaign.id, list.page).await?;
    Ok(list.answer(rows, |row| row.id, EnrollmentSkip::from))
}
