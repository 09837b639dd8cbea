//! A database per test, copied from one that was migrated once per run: SQLite files, or PostgreSQL databases where
//! `DATABASE_URL` names a server.

use std::path::PathBuf;

use migration::{Migrator, MigratorTrait};
use sea_orm::ConnectionTrait;
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

async fn administer(server: &str, sql: &str) {
    let root = sea_orm::Database::connect(named(server, "postgres")).await.unwrap();
    root.execute_unprepared(sql).await.unwrap();
    root.close().await.unwrap();
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{name}.sqlite"))
}

async fn migrate(uri: &str) {
    let db = sea_orm::Database::connect(uri).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    if uri.starts_with("sqlite") {
        db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    }
    db.close().await.unwrap();
}

async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("ampout_template_{}", uuid::Uuid::now_v7().simple());
            if let Some(server) = server() {
                administer(&server, &format!("CREATE DATABASE {name}")).await;
                migrate(&named(&server, &name)).await;
            } else {
                migrate(&format!("sqlite://{}?mode=rwc", file(&name).display())).await;
            }
            name
        })
        .await
}

/// A fresh, migrated database; removed by [`Database::remove`].
pub struct Database {
    name: String,
    /// How to reach it.
    pub uri: String,
}

impl Database {
    pub async fn create() -> Self {
        let template = template().await;
        let name = format!("ampout_test_{}", uuid::Uuid::now_v7().simple());
        let uri = if let Some(server) = server() {
            administer(&server, &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
                .await;
            named(&server, &name)
        } else {
            std::fs::copy(file(template), file(&name)).unwrap();
            format!("sqlite://{}?mode=rwc", file(&name).display())
        };
        Self { name, uri }
    }

    pub async fn remove(self) {
        if let Some(server) = server() {
            administer(&server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
        } else {
            let path = file(&self.name);
            for suffix in ["", "-wal", "-shm"] {
                std::fs::remove_file(format!("{}{suffix}", path.display())).ok();
            }
        }
    }
}
