//! Reads a table that was uploaded, a slice per transaction. Run twice, or again after a crash, it goes on where the last
//! commit ended.

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use loco_rs::{Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult, Code},
    imports::{READING, Reader},
    models::{
        contact_imports,
        import_progress::{self, Progress, Slice},
        import_uploads,
    },
    sending::points,
    state::AppState,
    tenancy::{Conn, SystemScope},
};

/// The worker.
pub struct ImportContacts {
    ctx: AppContext,
}

/// Which upload of whose.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Args {
    account_id: Uuid,
    import_upload_id: Uuid,
}

#[async_trait]
impl BackgroundWorker<Args> for ImportContacts {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    fn class_name() -> String {
        READING.to_owned()
    }

    async fn perform(&self, args: Args) -> Result<()> {
        match read(&AppState::of(&self.ctx)?, args).await {
            // Deleted meanwhile, or read to its end by another runner: nothing is left to do.
            Err(error) if matches!(error.code, Code::NotFound | Code::ContactImportNotFound) => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Reads the table to its end.
async fn read(state: &AppState, args: Args) -> ApiResult<()> {
    let scope = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(args.account_id);
    let mut reader = None;
    loop {
        let upload = scope.get::<import_uploads::Entity>(args.import_upload_id).await?;
        let import_id = upload.contact_import_id.ok_or_else(|| ApiError::new(Code::NotFound))?;
        let import = scope.get::<contact_imports::Entity>(import_id).await?;
        let index = u64::try_from(import.processed_rows).unwrap_or_default();
        let reader = reader.get_or_insert_with(|| Reader::new(&upload));
        let slice = reader.slice(&scope, upload.position, index).await?;
        if store(state, args, slice).await? == Progress::Ended {
            return Ok(());
        }
    }
}

/// Stores what a slice holds.
async fn store(state: &AppState, args: Args, slice: Slice) -> ApiResult<Progress> {
    let key = &state.suppression_key;
    let progress = SystemScope::in_transaction(&state.db, async |system| {
        let scope = system.account(args.account_id);
        let upload_id = args.import_upload_id;
        let progress = import_progress::advance(&scope, key, upload_id, slice, Timestamp::now()).await?;
        points::reach("import_before_commit");
        ApiResult::Ok(progress)
    })
    .await?;
    points::reach("import_after_commit");
    Ok(progress)
}

/// The last attempt failed: the client is told that nothing more will come.
pub(super) fn given_up(system: &SystemScope, args: Json) -> BoxFuture<'_, ApiResult<()>> {
    async move {
        match serde_json::from_value::<Args>(args) {
            Ok(args) => import_progress::fail(&system.account(args.account_id), args.import_upload_id).await,
            // Nobody can tell whose it was.
            Err(_) => Ok(()),
        }
    }
    .boxed()
}
