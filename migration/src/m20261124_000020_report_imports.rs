//! What an import did with its rows, and how many contacts it has.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// What an import did with its rows, and how many contacts it has.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000020_report_imports.sql")).await
    }
}
