//! `account_export`: everything of an account as a folder of JSON lines, one file per table. The folder appears under its
//! name when it is whole. An error takes what was written so far away again; what a crash leaves is called otherwise.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::ACCOUNT;
use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult},
    models::accounts::export::{TABLES, Table},
    points,
    tasks::{
        arguments::{Arguments, Manual, needed},
        operation::{Desk, Operation},
        report::Report,
    },
    tenancy::{Conn, Scope, SystemScope},
};

/// Exports an account.
pub(in crate::tasks) struct Export;

/// What is in the folder; also the file `export.json` in it.
#[derive(Serialize)]
struct Exported {
    account_id: Uuid,
    exported_at: Timestamp,
    version: &'static str,
    folder: String,
    files: Vec<Written>,
}

#[derive(Serialize)]
struct Written {
    file: String,
    rows: u64,
}

#[async_trait]
impl Operation for Export {
    const MANUAL: Manual = Manual {
        name: "account_export",
        detail: "Write everything of an account, without its secrets, as JSON lines into a new folder",
        arguments: &[ACCOUNT, needed("to", "a folder that is not there yet")],
    };

    async fn perform(ctx: &AppContext, given: &Arguments<'_>) -> Result<Report> {
        let folder = PathBuf::from(given.needed("to"));
        if folder.symlink_metadata().is_ok() {
            return Err(given.wrong("to"));
        }
        let desk = Desk::open(ctx).await?;
        let known = desk.account(given).await?;
        // One moment for all tables, whoever writes meanwhile.
        let moment = Arc::new(desk.state.db.snapshot().await?);
        let scope = SystemScope::new(Conn::Tx(Arc::clone(&moment))).account(known.id);
        let exported_at = Timestamp::now();
        let mut draft = Draft::begin(&folder)?;
        let mut files = Vec::new();
        for table in TABLES {
            let rows = draft.write_table(&scope, table).await?;
            files.push(Written { file: format!("{}.jsonl", table.name), rows });
            points::reach("task_after_batch");
        }
        // PostgreSQL ends a transaction in which nothing is asked for a minute, and a slow disk may take longer.
        drop(scope);
        moment.commit_shared().await?;
        points::reach("export_before_sync");
        let exported = Exported {
            account_id: known.id,
            exported_at,
            version: env!("CARGO_PKG_VERSION"),
            folder: folder.display().to_string(),
            files,
        };
        draft.finish(&folder, &exported)?;
        Report::of(&exported)
    }
}

/// A folder that is not whole yet. Only its owner may look into it. Dropped before it is whole, it goes again.
struct Draft {
    folder: PathBuf,
    /// What was made in it.
    files: Vec<PathBuf>,
    /// What is written and may not be on the disk yet.
    written: Vec<File>,
    whole: bool,
}

impl Draft {
    fn begin(folder: &Path) -> io::Result<Self> {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", new_id().simple()));
        let draft = folder.with_file_name(name);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&draft)?;
        Ok(Self { folder: draft, files: Vec::new(), written: Vec::new(), whole: false })
    }

    async fn write_table(&mut self, scope: &Scope, table: Table) -> ApiResult<u64> {
        let mut file = self.open(&format!("{}.jsonl", table.name)).map_err(ApiError::internal)?;
        let mut take = |row: &Map<String, Json>| write_line(&mut file, row).map_err(ApiError::internal);
        let rows = table.rows(scope, &mut take).await?;
        self.close(file).map_err(ApiError::internal)?;
        Ok(rows)
    }

    fn open(&mut self, name: &str) -> io::Result<BufWriter<File>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = self.folder.join(name);
        let file = options.open(&path)?;
        self.files.push(path);
        Ok(BufWriter::new(file))
    }

    fn close(&mut self, file: BufWriter<File>) -> io::Result<()> {
        self.written.push(file.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    /// Gives the folder its name, after everything in it is on the disk.
    fn finish(mut self, folder: &Path, exported: &Exported) -> io::Result<()> {
        let mut file = self.open("export.json")?;
        write_line(&mut file, exported)?;
        self.close(file)?;
        self.written.iter().try_for_each(File::sync_all)?;
        File::open(&self.folder)?.sync_all()?;
        fs::rename(&self.folder, folder)?;
        self.whole = true;
        let parent = folder.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft {
    /// Removes what was made, and nothing else: a folder into which somebody put something stays.
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        let files = self.files.iter().try_for_each(fs::remove_file);
        if let Err(error) = files.and_then(|()| fs::remove_dir(&self.folder)) {
            tracing::warn!(%error, folder = %self.folder.display(), "what was exported so far was not removed");
        }
    }
}

fn write_line(file: &mut BufWriter<File>, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, row)?;
    file.write_all(b"\n")
}
