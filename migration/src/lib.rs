//! The schema, one file per step. Steps are expand → migrate → contract: a step that has been released is never
//! changed, and every step runs on SQLite and on PostgreSQL.
//!
//! Times are microseconds since the epoch in BIGINT columns, so that both databases compare and index them alike.
pub use sea_orm_migration::prelude::*;

mod ddl;
mod m20261124_000001_create_accounts;
mod m20261124_000002_create_contacts;
mod m20261124_000003_create_campaigns;
mod m20261124_000004_create_enrollments;
mod m20261124_000005_create_engine;
mod m20261124_000010_create_webhooks;
mod m20261124_000020_report_imports;
mod m20261124_000021_create_mailboxes;
mod m20261124_000023_upload_imports;
mod m20261124_000030_create_idempotency_keys;
mod m20261124_000031_create_usage;
mod m20261124_000032_index_deliveries;
mod m20261124_000040_index_bounces;
mod m20261128_000060_index_lists;
mod m20261128_000070_erase_accounts;
mod m20261128_000080_create_billing;
mod m20261128_000090_mark_in_place;
mod m20261128_000100_refer_once;
mod m20261129_000110_check_late;
mod m20261129_000120_settle_in_place;
mod m20261129_000130_keep_evidence;
mod m20261129_000140_find_lanes;
mod m20261129_000150_keep_addresses;

/// All steps in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_create_accounts::Migration),
            Box::new(m20261124_000002_create_contacts::Migration),
            Box::new(m20261124_000003_create_campaigns::Migration),
            Box::new(m20261124_000004_create_enrollments::Migration),
            Box::new(m20261124_000005_create_engine::Migration),
            Box::new(m20261124_000010_create_webhooks::Migration),
            Box::new(m20261124_000020_report_imports::Migration),
            Box::new(m20261124_000021_create_mailboxes::Migration),
            Box::new(m20261124_000023_upload_imports::Migration),
            Box::new(m20261124_000030_create_idempotency_keys::Migration),
            Box::new(m20261124_000031_create_usage::Migration),
            Box::new(m20261124_000032_index_deliveries::Migration),
            Box::new(m20261124_000040_index_bounces::Migration),
            Box::new(m20261128_000060_index_lists::Migration),
            Box::new(m20261128_000070_erase_accounts::Migration),
            Box::new(m20261128_000080_create_billing::Migration),
            Box::new(m20261128_000090_mark_in_place::Migration),
            Box::new(m20261128_000100_refer_once::Migration),
            Box::new(m20261129_000110_check_late::Migration),
            Box::new(m20261129_000120_settle_in_place::Migration),
            Box::new(m20261129_000130_keep_evidence::Migration),
            Box::new(m20261129_000140_find_lanes::Migration),
            Box::new(m20261129_000150_keep_addresses::Migration),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_commits_together_with_the_record_that_it_ran() {
        for step in Migrator::migrations() {
            assert_eq!(step.use_transaction(), Some(true), "{}", step.name());
        }
    }
}
