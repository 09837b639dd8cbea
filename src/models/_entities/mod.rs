//! Rows as the database has them, one file per table; rules live in `models/<table>.rs`.
#![expect(missing_docs, reason = "columns are documented in the migration")]

pub mod account_periods;
pub mod accounts;
pub mod api_keys;
pub mod app_keys;
pub mod batches;
pub mod campaign_totals;
pub mod campaigns;
pub mod chores;
pub mod contact_imports;
pub mod contacts;
pub mod credential_days;
pub mod deliveries;
pub mod engine_processes;
pub mod enroll_jobs;
pub mod enrollment_skips;
pub mod enrollments;
pub mod former_addresses;
pub mod idempotency_keys;
pub mod import_chunks;
pub mod import_uploads;
pub mod jobs;
pub mod mailboxes;
pub mod outreaches;
pub mod parked_mails;
pub mod plans;
pub mod sequence_steps;
pub mod smtp_credentials;
pub mod stripe_events;
pub mod subscriptions;
pub mod suppressions;
pub mod test_messages;
pub mod usage_hours;
pub mod webhook_attempts;
pub mod webhook_deliveries;
pub mod webhooks;
