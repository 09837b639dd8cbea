//! Plans, accounts, their keys and billing periods.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Plans, accounts, their keys and billing periods.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000001_create_accounts.sql")).await
    }
}
