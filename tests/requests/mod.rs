//! Status and body of every endpoint, on either database.

mod accounts;
mod answers;
mod billing;
mod campaigns;
mod contact_imports;
mod contacts;
mod credentials;
pub mod csv_imports;
pub mod deliveries;
mod dispatch;
mod docs;
mod enroll;
mod enroll_contact;
mod enrollments;
mod forecast;
mod idempotency;
mod idempotency_kept;
mod idempotency_outside;
mod metrics;
mod outreaches;
mod preview;
mod rate_limits;
mod recipients;
mod test_send;
mod unsubscribe;
mod usage;
mod webhooks;
