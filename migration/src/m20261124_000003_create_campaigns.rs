//! Outreaches, campaigns, their steps and SMTP credentials (the lanes).

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Outreaches, campaigns, their steps and SMTP credentials (the lanes).
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000003_create_campaigns.sql")).await
    }
}
