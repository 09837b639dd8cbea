//! Indexes of lists as they are filtered, and of what imports ask.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Indexes of lists as they are filtered, and of what imports ask.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261128_000060_index_lists.sql")).await
    }
}
