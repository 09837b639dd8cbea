//! Reads a table that was uploaded, a slice per transaction. Run twice, or again after a crash, it goes on where the last
//! commit ended.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use loco_rs::{Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db,
    errors::{ApiError, ApiResult, Code},
    imports::{READING, Reader},
    models::{
        contact_imports,
        import_progress::{self, Progress, Slice},
        import_uploads,
    },
    points,
    state::AppState,
    tenancy::{Conn, Scope, SystemScope},
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

impl Args {
    /// The upload of that account.
    pub const fn new(account_id: Uuid, import_upload_id: Uuid) -> Self {
        Self { account_id, import_upload_id }
    }
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

/// Reads the table to its end, from where its last commit ended: at first, and whenever another runner was faster.
async fn read(state: &AppState, args: Args) -> ApiResult<()> {
    let scope = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(args.account_id);
    loop {
        let upload = db::in_time(scope.get::<import_uploads::Entity>(args.import_upload_id)).await?;
        let import_id = upload.contact_import_id.ok_or_else(|| ApiError::new(Code::NotFound))?;
        let import = db::in_time(scope.get::<contact_imports::Entity>(import_id)).await?;
        let index = u64::try_from(import.processed_rows).unwrap_or_default();
        if read_on(state, args, &scope, &upload, index).await? == Progress::Ended {
            return Ok(());
        }
    }
}

/// Reads on from where an upload stands. While the database stores one slice, the next is read.
async fn read_on(
    state: &AppState,
    args: Args,
    scope: &Scope,
    upload: &import_uploads::Model,
    mut index: u64,
) -> ApiResult<Progress> {
    let mut reader = Reader::new(upload);
    let mut slice = db::in_time(reader.slice(scope, upload.position, index)).await?;
    loop {
        let (rows, to) = (slice.rows, slice.to);
        index += rows;
        let (stored, next) =
            tokio::join!(store(state, args, slice), db::in_time(reader.slice(scope, to, index)));
        let (progress, held) = stored?;
        if progress != Progress::GoesOn {
            return Ok(progress);
        }
        reader.pace(rows, held);
        slice = next?;
    }
}

/// Stores what a slice holds; answers also how long its transaction was open.
async fn store(state: &AppState, args: Args, slice: Slice) -> ApiResult<(Progress, Duration)> {
    let key = &state.suppression_key;
    let mut begun = Instant::now();
    let progress = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        begun = Instant::now();
        let scope = system.account(args.account_id);
        let upload_id = args.import_upload_id;
        let progress = import_progress::advance(&scope, key, upload_id, slice, Timestamp::now()).await?;
        points::reach("import_before_commit");
        ApiResult::Ok(progress)
    }))
    .await?;
    points::reach("import_after_commit");
    Ok((progress, begun.elapsed()))
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
