//! Indexes of deliveries in the states that few have.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Indexes of deliveries in the states that few have.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261124_000032_index_deliveries.sql")).await
    }
}
