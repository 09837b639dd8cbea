//! Outcomes that write no index of their delivery.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Outcomes that write no index of their delivery.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261129_000120_settle_in_place.sql")).await
    }
}
