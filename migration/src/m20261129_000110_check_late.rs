//! The key of a contact to its import may be checked when a transaction commits.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

use crate::ddl;

/// The key of a contact to its import may be checked when a transaction commits.
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
                ddl::run(manager, include_str!("m20261129_000110_check_late.postgres.sql")).await
            }
            // It looks a key up for next to nothing.
            DatabaseBackend::Sqlite | DatabaseBackend::MySql | _ => Ok(()),
        }
    }
}
