//! Engine processes, background jobs and sealed application keys.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Engine processes, background jobs and sealed application keys.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000005_create_engine.sql")).await
    }
}
