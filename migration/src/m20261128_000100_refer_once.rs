//! An enrollment refers to its batch, and by that to its campaign.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

use crate::ddl;

/// An enrollment refers to its batch, and by that to its campaign.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DatabaseBackend::Postgres => {
                ddl::run(manager, include_str!("m20261128_000100_refer_once.postgres.sql")).await
            }
            // It looks a key up for next to nothing, and changes a table's constraints only by making it anew.
            DatabaseBackend::Sqlite | DatabaseBackend::MySql | _ => Ok(()),
        }
    }
}
