//! `contacts_import`: a file of contacts, by the way that `POST /contact_imports` takes a table.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use loco_rs::{Result, app::AppContext, bgworker::BackgroundWorker as _};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{
    accounts::ACCOUNT,
    arguments::{Arguments, Manual, needed, optional},
    operation::{Desk, Operation},
    report::Report,
};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    imports::{self, Received},
    models::{contact_imports, import_uploads::CHUNK_BYTES, states::JobStatus},
    tenancy::Scope,
    views::contact_imports::ContactImportDetail,
    workers::{ImportContacts, import_contacts::Args},
};

/// How often in a row reading may fail without having stored a row.
const MOST_FAILURES: u32 = 5;

/// Imports a file.
pub(super) struct Import;

#[async_trait]
impl Operation for Import {
    const MANUAL: Manual = Manual {
        name: "contacts_import",
        detail: "Import contacts from a CSV file, whose first row names the columns (`email` is one)",
        arguments: &[
            ACCOUNT,
            needed("file", "a CSV file that can be read, at most 512 MiB"),
            optional("name", "the import's name; the file's if left out"),
        ],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let path = PathBuf::from(given.needed("file"));
        let file = File::open(&path).await.map_err(|_| given.wrong("file"))?;
        let about = file.metadata().await?;
        if !about.is_file() || about.len() > imports::MOST_BYTES as u64 {
            return Err(given.wrong("file"));
        }
        let name = given.text("name").map_or_else(|| name_of(&path), str::to_owned);
        let desk = Desk::open(ctx).await?;
        let account = desk.account(given).await?;
        let bar = bar_of("reading the file", "{bytes}/{total_bytes}", about.len());
        let pieces = pieces(file, bar.clone());
        let received = imports::receive(&desk.state.db, account.id, &name, pieces).await;
        let received = received.map_err(|refused| refused.error)?;
        bar.finish_and_clear();
        let started = start(&desk, account.id, name, received).await?;
        let scope = desk.reads.account(account.id);
        read(ctx, &scope, started, received.id).await?;
        finished(&scope, started).await
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Drawn on standard error, and only where that is a terminal.
fn bar_of(what: &'static str, unit: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(what);
    let style = ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {unit} {{eta}}"));
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

/// The file as a request's body comes.
fn pieces(file: File, bar: ProgressBar) -> impl Stream<Item = ApiResult<bytes::Bytes>> + Send {
    ReaderStream::with_capacity(file, CHUNK_BYTES).map(move |piece| {
        let piece = piece.map_err(ApiError::internal)?;
        bar.inc(piece.len() as u64);
        Ok(piece)
    })
}

/// Stores the import together with the job that reads it: killed from here on, any engine goes on.
async fn start(desk: &Desk, account_id: Uuid, name: String, received: Received) -> ApiResult<Uuid> {
    let now = Timestamp::now();
    let work = desk
        .write(async |system| imports::start(&system.account(account_id), name, received, now).await)
        .await;
    if work.is_err() {
        imports::abandon(&desk.state.db, account_id, received.id).await;
    }
    Ok(work?.id)
}

/// Reads the table here, without waiting for an engine. One that runs may take part: no slice is stored twice, and
/// whoever comes second begins anew behind it.
async fn read(ctx: &AppContext, scope: &Scope, import_id: Uuid, upload_id: Uuid) -> Result<()> {
    let worker = ImportContacts::build(ctx);
    let (mut failures, mut stored) = (0, 0);
    loop {
        let failure = match worker.perform(Args::new(scope.account_id(), upload_id)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let import = scope.get::<contact_imports::Entity>(import_id).await?;
        if import.status != JobStatus::Processing {
            return Ok(());
        }
        failures = if import.processed_rows > stored { 1 } else { failures + 1 };
        stored = import.processed_rows;
        if failures >= MOST_FAILURES {
            return Err(failure);
        }
    }
}

async fn finished(scope: &Scope, import_id: Uuid) -> Result<Report> {
    let import = scope.get::<contact_imports::Entity>(import_id).await?;
    let failed = import.status == JobStatus::Failed;
    let report = Report::of(&ContactImportDetail::from(import))?;
    Ok(if failed { report.failing("contacts_import: the import failed") } else { report })
}
