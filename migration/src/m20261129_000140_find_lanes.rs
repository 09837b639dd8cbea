//! Lanes that are closed for good, and those that fail, are found without a look at all others.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Lanes that are closed for good, and those that fail, are found without a look at all others.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261129_000140_find_lanes.sql")).await
    }
}
