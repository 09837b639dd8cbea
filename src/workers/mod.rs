//! Background jobs as Loco workers. What a worker does is here; how it is stored, retried and leased is in `jobs`.

mod apply_stripe_event;
mod enroll_import;
pub mod import_contacts;
mod make_stripe_customer;
mod send_system_mail;

use loco_rs::{
    Result,
    app::AppContext,
    bgworker::{BackgroundWorker, Queue},
};

pub use apply_stripe_event::ApplyStripeEvent;
pub use enroll_import::EnrollImport;
pub use import_contacts::ImportContacts;
pub use make_stripe_customer::MakeStripeCustomer;
pub use send_system_mail::SendSystemMail;

use crate::jobs::DbQueue;

/// Registers every worker, and what follows when a job of it is given up. Called by `Hooks::connect_workers` and by the engine; registering twice is harmless.
///
/// # Errors
/// What the queue refuses.
pub async fn register(ctx: &AppContext, queue: &Queue) -> Result<()> {
    if let Some(jobs) = DbQueue::of(ctx) {
        jobs.when_given_up(EnrollImport::class_name(), enroll_import::given_up);
        jobs.when_given_up(ImportContacts::class_name(), import_contacts::given_up);
    }
    queue.register(ImportContacts::build(ctx)).await?;
    queue.register(SendSystemMail::build(ctx)).await?;
    queue.register(MakeStripeCustomer::build(ctx)).await?;
    queue.register(ApplyStripeEvent::build(ctx)).await?;
    queue.register(EnrollImport::build(ctx)).await
}
