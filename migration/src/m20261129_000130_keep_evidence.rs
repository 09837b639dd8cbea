//! What came back for a message is kept while it is being sent.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// What came back for a message is kept while it is being sent.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261129_000130_keep_evidence.sql")).await
    }
}
