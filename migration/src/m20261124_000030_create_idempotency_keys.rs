//! Stored answers of idempotent requests.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Stored answers of idempotent requests.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000030_create_idempotency_keys.sql")).await
    }
}
