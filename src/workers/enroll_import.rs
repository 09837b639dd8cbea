//! Enrolls a large import, a slice per transaction. Run twice, or again after a crash, it goes on where the last commit
//! ended.

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use loco_rs::{Error, Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db,
    errors::{ApiError, ApiResult, Code},
    jobs::{ENROLL_IMPORT, TurnOver, turn_is_over},
    models::{
        campaigns, contact_imports, enroll_jobs,
        enrollments::{CHUNK, DeadDomains, domains},
        states::JobStatus,
    },
    points,
    sending::enrolling::dead_domains,
    state::AppState,
    tenancy::{Conn, Scope, SystemScope},
};

/// The worker.
pub struct EnrollImport {
    ctx: AppContext,
}

/// Which job of whose.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Args {
    account_id: Uuid,
    enroll_job_id: Uuid,
}

#[async_trait]
impl BackgroundWorker<Args> for EnrollImport {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    fn class_name() -> String {
        ENROLL_IMPORT.to_owned()
    }

    async fn perform(&self, args: Args) -> Result<()> {
        match enroll(&AppState::of(&self.ctx)?, args).await {
            // Removed meanwhile, with its campaign or its import: nothing is left to do, and nobody to tell.
            Err(error) if error.code == Code::NotFound => Ok(()),
            Ok(JobStatus::Processing) => Err(Error::wrap(TurnOver)),
            ended => Ok(ended.map(drop)?),
        }
    }
}

/// Enrolls to the end, or to that of the turn; answers how the job stands then.
async fn enroll(state: &AppState, args: Args) -> ApiResult<JobStatus> {
    reopen(state, args).await?;
    loop {
        let status = slice(state, args).await?;
        if status != JobStatus::Processing || turn_is_over() {
            return Ok(status);
        }
    }
}

/// A job that runs although its row says that it was given up is one that an operator retries.
async fn reopen(state: &AppState, args: Args) -> ApiResult<()> {
    let reads = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(args.account_id);
    if db::in_time(reads.get::<enroll_jobs::Entity>(args.enroll_job_id)).await?.status != JobStatus::Failed {
        return Ok(());
    }
    db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        enroll_jobs::reopen(&system.account(args.account_id), args.enroll_job_id).await
    }))
    .await
}

/// Does one slice; answers how the job stands.
async fn slice(state: &AppState, args: Args) -> ApiResult<JobStatus> {
    let reads = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(args.account_id);
    let job = db::in_time(reads.get::<enroll_jobs::Entity>(args.enroll_job_id)).await?;
    if job.status != JobStatus::Processing {
        return Ok(job.status);
    }
    match advance(state, args, &reads, job).await {
        Err(error) if is_gone(&error) => {
            let fail = async |system: &SystemScope| {
                enroll_jobs::fail(&system.account(args.account_id), args.enroll_job_id).await
            };
            db::in_time(SystemScope::in_transaction(&state.db, fail)).await?;
            Ok(JobStatus::Failed)
        }
        done => done,
    }
}

async fn advance(
    state: &AppState,
    args: Args,
    reads: &Scope,
    job: enroll_jobs::Model,
) -> ApiResult<JobStatus> {
    let dead = dead_of(state, reads, &job).await?;
    let job = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        let scope = system.account(args.account_id);
        let job = enroll_jobs::advance(&scope, job, CHUNK, &dead, Timestamp::now()).await?;
        points::reach("enroll_before_commit");
        ApiResult::Ok(job)
    }))
    .await?;
    points::reach("enroll_after_commit");
    Ok(job.status)
}

/// The last attempt failed: the client is told that nothing more will come.
pub(super) fn given_up(system: &SystemScope, args: Json) -> BoxFuture<'_, ApiResult<()>> {
    async move {
        match serde_json::from_value::<Args>(args) {
            Ok(args) => enroll_jobs::fail(&system.account(args.account_id), args.enroll_job_id).await,
            // Nobody can tell whose it was.
            Err(_) => Ok(()),
        }
    }
    .boxed()
}

/// The dead domains of the next slice, asked for outside the transaction.
async fn dead_of(state: &AppState, scope: &Scope, job: &enroll_jobs::Model) -> ApiResult<DeadDomains> {
    db::in_time(scope.get::<contact_imports::Entity>(job.contact_import_id)).await?;
    let campaign = db::in_time(scope.get::<campaigns::Entity>(job.campaign_id)).await?;
    if !campaign.verify_email_mx {
        return Ok(DeadDomains::new());
    }
    Ok(dead_domains(&state.mx, db::in_time(domains(scope, job.slice(CHUNK))).await?).await)
}

/// Whether the campaign or the import was deleted meanwhile.
const fn is_gone(error: &ApiError) -> bool {
    matches!(error.code, Code::CampaignNotFound | Code::ContactImportNotFound)
}
