//! Customers, subscriptions and events of Stripe.

use sea_orm_migration::prelude::*;

use crate::ddl;

/// Customers, subscriptions and events of Stripe.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        ddl::WHOLE
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::run(manager, include_str!("m20261128_000080_create_billing.sql")).await
    }
}
