//! The index by which senders that bounce are found.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// The index by which senders that bounce are found.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000040_index_bounces.sql")).await
    }
}
