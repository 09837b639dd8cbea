//! The text of an import, kept until it is read.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

use crate::ddl;

/// The text of an import, kept until it is read.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000023_upload_imports.sql")).await?;
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            // A piece is written once and read a few times: compressing it costs more than it saves.
            ddl::run(manager, "ALTER TABLE import_chunks ALTER COLUMN body SET STORAGE EXTERNAL").await?;
        }
        Ok(())
    }
}
