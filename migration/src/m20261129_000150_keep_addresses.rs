//! Where messages went is known after the contact's address has changed.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Where messages went is known after the contact's address has changed.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261129_000150_keep_addresses.sql")).await
    }
}
