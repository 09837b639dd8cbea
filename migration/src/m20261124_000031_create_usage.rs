//! Requests of accounts, summed by the hour.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Requests of accounts, summed by the hour.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000031_create_usage.sql")).await
    }
}
