//! When the last of an account was removed.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// When the last of an account was removed.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261128_000070_erase_accounts.sql")).await
    }
}
