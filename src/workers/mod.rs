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

/// Says what follows when a job is given up. Done with the queue itself: the command line ends jobs without any worker.
pub fn say_what_follows(ctx: &AppContext) {
    if let Some(jobs) = DbQueue::of(ctx) {
        jobs.when_given_up(EnrollImport::class_name(), enroll_import::given_up);
        jobs.when_given_up(ImportContacts::class_name(), import_contacts::given_up);
    }
}

/// Registers every worker. Called by `Hooks::connect_workers` and by the engine; registering twice is harmless.
///
/// # Errors
/// What the queue refuses.
pub async fn register(ctx: &AppContext, queue: &Queue) -> Result<()> {
    queue.register(ImportContacts::build(ctx)).await?;
    queue.register(SendSystemMail::build(ctx)).await?;
    queue.register(MakeStripeCustomer::build(ctx)).await?;
    queue.register(ApplyStripeEvent::build(ctx)).await?;
    queue.register(EnrollImport::build(ctx)).await
}
