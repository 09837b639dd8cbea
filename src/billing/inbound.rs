//! Events of Stripe: taken in at once, and worked on by a job. An event says what to look at; what is seen decides.

use bytes::Bytes;

use super::{
    Stripe,
    event::{self, Event, Subject},
    notices, signature,
    sync::{Synced, sync},
};
use crate::{
    clock::Timestamp,
    db,
    errors::{ApiError, ApiResult, Code},
    jobs::{Job, enqueue_on},
    models::{accounts, stripe_events},
    state::AppState,
    tenancy::SystemScope,
};

/// The class name of the worker that works on an event.
pub(crate) const WORKING: &str = "ApplyStripeEvent";
/// Tries before an event is left to the night: with the queue's waits, several hours.
const ATTEMPTS: i32 = 14;

/// Stores a signed event, once, and the job that works on it.
///
/// # Errors
/// `invalid_signature`; `bad_request` when what is signed is no event.
pub async fn receive(state: &AppState, header: &str, body: &Bytes) -> ApiResult<()> {
    let settings = state.settings.stripe.as_ref();
    let secrets = settings.map(|settings| settings.webhook_secrets.as_slice()).unwrap_or_default();
    let now = Timestamp::now();
    if !signature::verify(header, body, secrets, now) {
        return Err(ApiError::new(Code::InvalidSignature));
    }
    let no_event = || ApiError::bad_request("The body must be an event of Stripe");
    let (event, payload) = event::read(body).zip(std::str::from_utf8(body).ok()).ok_or_else(no_event)?;
    SystemScope::in_transaction(&state.db, async |system| {
        let of = match event.subject.customer() {
            Some(customer) => accounts::of_customer(system, customer).await?,
            None => None,
        };
        if !stripe_events::keep(system, (&event.id, &event.kind), payload, of, now).await? {
            return Ok(());
        }
        if event.subject == Subject::Nothing {
            return stripe_events::conclude(system, &event.id, None, "ignored", now).await;
        }
        let args = serde_json::json!({ "event_id": event.id });
        let job = Job { max_attempts: ATTEMPTS, ..Job::new(WORKING, args) };
        enqueue_on(&system.db(), job).await?;
        Ok(())
    })
    .await?;
    state.doorbells.jobs.ring();
    Ok(())
}

/// Works on a stored event; done again, it ends the same.
///
/// # Errors
/// When Stripe or the database cannot be used: to be tried again.
pub async fn apply(state: &AppState, id: &str) -> ApiResult<()> {
    let reads = state.reads();
    let stored = db::in_time(stripe_events::find(&reads, id)).await?;
    let Some(stored) = stored.filter(|stored| !stored.done) else { return Ok(()) };
    let stripe = state.stripe.as_ref().ok_or_else(|| ApiError::internal("STRIPE_SECRET_KEY is not set"))?;
    let event = event::read(stored.payload.as_bytes()).ok_or_else(|| ApiError::internal("a stored event"))?;
    if event.live != stripe.is_live() {
        tracing::warn!(event = id, "an event is not for the mode of STRIPE_SECRET_KEY; it is ignored");
        return conclude(state, id, None, "wrong_mode").await;
    }
    look(state, stripe, &reads, &event).await
}

async fn look(state: &AppState, stripe: &Stripe, reads: &SystemScope, event: &Event) -> ApiResult<()> {
    let (customer, subscription) = match &event.subject {
        Subject::Subscription { customer, subscription } => (customer, Some(subscription)),
        Subject::FailedInvoice { customer, subscription, .. } => (customer, subscription.as_ref()),
        Subject::Nothing => return conclude(state, &event.id, None, "ignored").await,
    };
    let Some(account_id) = db::in_time(accounts::of_customer(reads, customer)).await? else {
        tracing::warn!(event = event.id, customer, "an event of a customer that no account is");
        return conclude(state, &event.id, None, "unknown_customer").await;
    };
    let synced = match subscription {
        Some(subscription) => sync(state, stripe, account_id, subscription).await?,
        None => Synced::Same,
    };
    if synced == Synced::NotOurs {
        return conclude(state, &event.id, Some(account_id), "not_ours").await;
    }
    db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        if let Subject::FailedInvoice { invoice, .. } = &event.subject
            && stripe_events::claim_invoice(system, &event.id, invoice).await?
        {
            notices::tell_of_failed_payment(&system.account(account_id), invoice).await?;
        }
        stripe_events::conclude(system, &event.id, Some(account_id), "applied", Timestamp::now()).await
    }))
    .await?;
    state.doorbells.jobs.ring();
    Ok(())
}

async fn conclude(
    state: &AppState,
    id: &str,
    account_id: Option<uuid::Uuid>,
    outcome: &'static str,
) -> ApiResult<()> {
    db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        stripe_events::conclude(system, id, account_id, outcome, Timestamp::now()).await
    }))
    .await
}
