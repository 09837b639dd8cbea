//! Rules, validation, finders and transitions: a file for each table, and the values and steps that several share
//! (addresses, states, sql, tally, removal, sealed). Never HTTP, never SMTP.

pub mod _entities;
pub mod accounts;
pub mod api_keys;
pub mod app_keys;
pub mod batches;
pub mod campaigns;
pub mod chores;
pub mod contact_imports;
pub mod contact_rows;
pub mod contacts;
pub mod custom_fields;
pub mod deliveries;
pub mod email_address;
pub mod enroll_jobs;
pub mod enrollment_skips;
pub mod enrollments;
pub mod header_text;
pub mod idempotency_keys;
pub mod import_progress;
pub mod import_uploads;
pub mod mailboxes;
pub mod opens;
pub mod outreaches;
pub mod periods;
pub mod plans;
pub mod removal;
pub mod sealed;
pub mod sequence_steps;
pub mod smtp_credentials;
pub mod sql;
pub mod states;
pub mod stripe_events;
pub mod subscriptions;
pub mod suppressions;
pub mod tally;
pub mod test_messages;
pub mod usage;
pub mod webhook_deliveries;
pub mod webhook_url;
pub mod webhooks;

pub use custom_fields::CustomFields;
pub use email_address::EmailAddress;
pub use header_text::HeaderText;
pub use webhook_url::WebhookUrl;
