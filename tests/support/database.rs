//! A database per test, copied from one that was migrated once per schema: SQLite files, or PostgreSQL databases where
//! `DATABASE_URL` names a server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ampout::clock::Timestamp;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbErr, Statement};
use sha2::{Digest, Sha256};
use testkit::wait::eventually;
use tokio::sync::OnceCell;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Where PostgreSQL listens, if the suite runs on it.
fn server() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres"))
}

fn named(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, String::new()), |(b, q)| (b, format!("?{q}")));
    let (root, _) = base.rsplit_once('/').unwrap();
    format!("{root}/{name}{query}")
}

async fn administer(server: &str, sql: &str) -> Result<(), DbErr> {
    let root = sea_orm::Database::connect(named(server, "postgres")).await.unwrap();
    let done = root.execute_unprepared(sql).await.map(|_| ());
    root.close().await.unwrap();
    done
}

async fn has_database(server: &str, name: &str) -> bool {
    let root = sea_orm::Database::connect(named(server, "postgres")).await.unwrap();
    let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
    let found = root.query_one_raw(Statement::from_string(root.get_database_backend(), sql)).await.unwrap();
    root.close().await.unwrap();
    found.is_some()
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{name}.sqlite"))
}

/// All steps that are missing, or the first so many.
async fn migrate(uri: &str, steps: Option<u32>) {
    let db = sea_orm::Database::connect(uri).await.unwrap();
    Migrator::up(&db, steps).await.unwrap();
    if uri.starts_with("sqlite") {
        db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    }
    db.close().await.unwrap();
}

/// What the migrations say, in short: a template of the same text is as good as a new one, and is left for the next run.
fn schema() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/src");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        digest.update(path.file_name().unwrap().as_encoded_bytes());
        digest.update(fs::read(path).unwrap());
    }
    let digest = digest.finalize();
    u64::from_be_bytes(digest[..8].try_into().unwrap()).to_string()
}

/// Where the template of a SQLite run is: with the build, so that `cargo clean` takes it along.
fn template_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sqlite"))
}

/// The template, made where it is missing. It is made under another name: no run finds one that is half done, and of two
/// that make it at the same time either may win.
async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("ampout_template_{}", schema());
            let draft = format!("ampout_draft_{}", uuid::Uuid::now_v7().simple());
            if let Some(server) = server() {
                if !has_database(&server, &name).await {
                    administer(&server, &format!("CREATE DATABASE {draft}")).await.unwrap();
                    migrate(&named(&server, &draft), None).await;
                    let renamed =
                        administer(&server, &format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
                    if renamed.is_err() {
                        administer(&server, &format!("DROP DATABASE {draft}")).await.unwrap();
                    }
                }
            } else if !template_file(&name).exists() {
                migrate(&format!("sqlite://{}?mode=rwc", template_file(&draft).display()), None).await;
                fs::rename(template_file(&draft), template_file(&name)).unwrap();
            }
            name
        })
        .await
}

/// More than a test takes.
const BEFORE_MIDNIGHT: Duration = Duration::from_secs(30);
/// A test begins so long behind it: some need a little of their month to lie in the past.
const BEHIND_MIDNIGHT: Duration = Duration::from_secs(4);

/// Limits count by UTC days and months: what begins just before one ends would be counted in two, and begins behind it.
async fn away_from_midnight() {
    let longest = BEFORE_MIDNIGHT + 2 * BEHIND_MIDNIGHT;
    eventually(longest, || async {
        let now = Timestamp::now();
        let midnight = Timestamp::from_day(now.plus(BEFORE_MIDNIGHT).day());
        (midnight.plus(BEHIND_MIDNIGHT) <= now).then_some(())
    })
    .await
    .unwrap();
}

/// A fresh, migrated database; removed by [`Database::remove`].
pub struct Database {
    name: String,
    /// How to reach it.
    pub uri: String,
    /// The server that it is on; none for a file.
    at: Option<String>,
}

impl Database {
    pub async fn create() -> Self {
        let template = template().await;
        away_from_midnight().await;
        let name = format!("ampout_test_{}", uuid::Uuid::now_v7().simple());
        let uri = if let Some(server) = server() {
            administer(&server, &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
                .await
                .unwrap();
            named(&server, &name)
        } else {
            fs::copy(template_file(template), file(&name)).unwrap();
            format!("sqlite://{}?mode=rwc", file(&name).display())
        };
        Self { name, uri, at: server() }
    }

    /// A fresh one on this server, which need not be that of the run.
    pub async fn create_at(server: &str) -> Self {
        let name = format!("ampout_test_{}", uuid::Uuid::now_v7().simple());
        administer(server, &format!("CREATE DATABASE {name}")).await.unwrap();
        let uri = named(server, &name);
        migrate(&uri, None).await;
        Self { name, uri, at: Some(server.to_owned()) }
    }

    /// A fresh one as it was before a step, for [`Self::catch_up`].
    pub async fn create_before(step: &str) -> Self {
        let name = format!("ampout_test_{}", uuid::Uuid::now_v7().simple());
        let uri = if let Some(server) = server() {
            administer(&server, &format!("CREATE DATABASE {name}")).await.unwrap();
            named(&server, &name)
        } else {
            format!("sqlite://{}?mode=rwc", file(&name).display())
        };
        let earlier = Migrator::migrations().iter().position(|one| one.name() == step).unwrap();
        migrate(&uri, Some(u32::try_from(earlier).unwrap())).await;
        Self { name, uri, at: server() }
    }

    /// Takes the steps that are missing.
    pub async fn catch_up(&self) {
        migrate(&self.uri, None).await;
    }

    pub async fn remove(self) {
        if let Some(server) = self.at {
            administer(&server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
                .await
                .unwrap();
        } else {
            let path = file(&self.name);
            for suffix in ["", "-wal", "-shm"] {
                fs::remove_file(format!("{}{suffix}", path.display())).ok();
            }
        }
    }
}
