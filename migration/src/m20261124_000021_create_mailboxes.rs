//! Mailboxes that are read for answers and notices, and mails that could not be read.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Mailboxes that are read for answers and notices, and mails that could not be read.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000021_create_mailboxes.sql")).await
    }
}
