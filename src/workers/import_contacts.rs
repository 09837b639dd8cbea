//! Reads a table that was uploaded, a slice per transaction. Run twice, or again after a crash, it goes on where the last
//! commit ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::BoxFuture};
use loco_rs::{Error, Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{self, WriteTx},
    errors::{ApiError, ApiResult, Code},
    imports::{Pace, Reader},
    jobs::{READ_TABLE, TurnOver, turn_is_over},
    models::{
        contact_imports, contact_rows,
        import_progress::{self, Progress, Slice, Stored},
        import_uploads,
        states::JobStatus,
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
        READ_TABLE.to_owned()
    }

    async fn perform(&self, args: Args) -> Result<()> {
        match read(&AppState::of(&self.ctx)?, args).await {
            // Deleted meanwhile, or read to its end by another runner: nothing is left to do.
            Err(error) if matches!(error.code, Code::NotFound | Code::ContactImportNotFound) => Ok(()),
            Ok(JobStatus::Processing) => Err(Error::wrap(TurnOver)),
            ended => Ok(ended.map(drop)?),
        }
    }
}

/// Reads the table to its end, or to that of the turn, from where its last commit ended: at first, and whenever another runner
/// was faster. Answers how the import stands then.
async fn read(state: &AppState, args: Args) -> ApiResult<JobStatus> {
    let scope = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(args.account_id);
    loop {
        let upload = db::in_time(scope.get::<import_uploads::Entity>(args.import_upload_id)).await?;
        let import_id = upload.contact_import_id.ok_or_else(|| ApiError::new(Code::NotFound))?;
        let import = db::in_time(scope.get::<contact_imports::Entity>(import_id)).await?;
        if import.status != JobStatus::Processing {
            return Ok(import.status);
        }
        let index = u64::try_from(import.processed_rows).unwrap_or_default();
        match read_on(state, args, &scope, &upload, index).await? {
            Progress::Ended => return Ok(JobStatus::Completed),
            Progress::GoesOn => return Ok(JobStatus::Processing),
            Progress::Overtaken => {}
        }
    }
}

/// So many imports of a process may have a second transaction open; the others store a slice when the one before it is
/// committed, and leave connections to requests.
static AHEAD: Semaphore = Semaphore::const_new(4);

/// A slice whose contacts are stored, in a transaction that is open.
struct Open {
    tx: Arc<WriteTx>,
    scope: Scope,
    stored: Stored,
    rows: u64,
    /// How long storing them took.
    took: Duration,
}

/// Reads on from where an upload stands, and stores what was read. It goes on when the turn is over.
async fn read_on(
    state: &AppState,
    args: Args,
    scope: &Scope,
    upload: &import_uploads::Model,
    index: u64,
) -> ApiResult<Progress> {
    let (pace, (sender, slices)) = (Pace::default(), mpsc::channel(1));
    let reading = async {
        let mut reader = Reader::new(upload, index);
        while let Ok(place) = sender.reserve().await {
            place.send(db::in_time(reader.next(scope, &pace)).await);
        }
        std::future::pending().await
    };
    tokio::select! {
        progress = store_all(state, args, slices, &pace) => progress,
        progress = reading => progress,
    }
}

/// While a slice is noted and committed, the one behind it is stored, until the turn is over. No transaction waits for a slice
/// to be read.
async fn store_all(
    state: &AppState,
    args: Args,
    mut slices: mpsc::Receiver<ApiResult<Option<Slice>>>,
    pace: &Pace,
) -> ApiResult<Progress> {
    let mut open: Option<Open> = None;
    loop {
        let last = open.is_some() && turn_is_over();
        let closing = db::in_time(close(open));
        let storing = async {
            if last {
                return Ok(None);
            }
            let slice = slices.recv().await.transpose()?.flatten();
            db::in_time(store(state, args, slice)).await
        };
        let (closed, opened) = match AHEAD.try_acquire() {
            Ok(_ahead) => tokio::join!(closing, storing),
            Err(_) => (closing.await, storing.await),
        };
        // Who was overtaken may have found nothing to read: that comes first.
        if let Some((progress, rows, took)) = closed? {
            if progress != Progress::GoesOn {
                return Ok(progress);
            }
            pace.learn(rows, took);
        }
        if last {
            return Ok(Progress::GoesOn);
        }
        open = opened?;
    }
}

/// Stores the contacts of a slice in a transaction that stays open.
async fn store(state: &AppState, args: Args, slice: Option<Slice>) -> ApiResult<Option<Open>> {
    let Some(slice) = slice else { return Ok(None) };
    let tx = Arc::new(state.db.begin().await?);
    let begun = Instant::now();
    let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
    contact_rows::check_late(&system).await?;
    let scope = system.account(args.account_id);
    let (rows, key) = (slice.rows, &state.suppression_key);
    let upload_id = args.import_upload_id;
    let stored = import_progress::store_contacts(&scope, key, upload_id, slice, Timestamp::now()).await?;
    Ok(Some(Open { tx, scope, stored, rows, took: begun.elapsed() }))
}

/// Notes a slice that is stored, and commits both; answers also its rows, and how long the two took, without what it waited
/// between them for the slice before it. What was overtaken is undone.
async fn close(open: Option<Open>) -> ApiResult<Option<(Progress, u64, Duration)>> {
    let Some(Open { tx, scope, stored, rows, took }) = open else { return Ok(None) };
    let begun = Instant::now();
    let progress = import_progress::note_slice(&scope, stored).await?;
    if progress != Progress::Overtaken {
        points::reach("import_before_commit");
        drop(scope);
        tx.commit_shared().await?;
        points::reach("import_after_commit");
    }
    Ok(Some((progress, rows, took + begun.elapsed())))
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
