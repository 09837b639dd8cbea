//! Marks that write no index, and one index less of each delivery.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

use crate::ddl;

/// Marks that write no index, and one index less of each delivery.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = match manager.get_database_backend() {
            DatabaseBackend::Postgres => include_str!("m20261128_000090_mark_in_place.postgres.sql"),
            DatabaseBackend::Sqlite | DatabaseBackend::MySql | _ => {
                include_str!("m20261128_000090_mark_in_place.sqlite.sql")
            }
        };
        ddl::run(manager, table).await?;
        ddl::run(manager, include_str!("m20261128_000090_mark_in_place.sql")).await
    }
}
