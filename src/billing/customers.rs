//! The customers that Stripe knows our accounts as. One is made by a job: signing up never waits for Stripe, nor fails
//! because of it. Whoever signed up while there was no Stripe gets one at night (`reconcile`). It goes with the account.

use uuid::Uuid;

use super::Stripe;
use crate::{
    db,
    errors::{ApiResult, Code},
    jobs::{Job, enqueue_on},
    models::accounts::{self, erase},
    points,
    state::AppState,
    tenancy::SystemScope,
};

/// The class name of the worker that makes one.
pub(crate) const MAKING: &str = "MakeStripeCustomer";

/// Stores the job that makes the customer of a new account, where there is Stripe; it commits with the account. Ring the
/// doorbell of jobs after the commit.
///
/// # Errors
/// What the database refuses.
pub async fn arrange(system: &SystemScope, state: &AppState, account_id: Uuid) -> ApiResult<()> {
    if state.stripe.is_some() {
        let args = serde_json::json!({ "account_id": account_id });
        enqueue_on(&system.db(), Job::new(MAKING, args).unique(format!("stripe-customer:{account_id}")))
            .await?;
    }
    Ok(())
}

/// Makes the account's customer, unless it has one or is gone; answers whether it has one now that it had not. Done twice,
/// Stripe makes one.
///
/// # Errors
/// When Stripe did not.
pub async fn make(state: &AppState, stripe: &Stripe, account_id: Uuid) -> ApiResult<bool> {
    let reads = state.reads().account(account_id);
    if db::in_time(accounts::customer(&reads)).await?.is_some() {
        return Ok(false);
    }
    let account = match db::in_time(accounts::current(&reads)).await {
        Err(error) if error.code == Code::Unauthorized => return Ok(false),
        found => found?,
    };
    let customer = stripe.make_customer(account_id, &account.email, account.name.as_deref()).await?;
    points::reach("stripe-customer-made");
    let kept = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        accounts::keep_customer(&system.account(account_id), &customer).await
    }))
    .await?;
    // Another was faster, or the account is gone: what it does not know is nobody's.
    if !kept && db::in_time(accounts::customer(&reads)).await?.as_ref() != Some(&customer) {
        stripe.delete_customer(&customer).await.inspect_err(|error| {
            tracing::error!(account = %account_id, customer, %error, "a customer that is nobody's stays at Stripe");
        })?;
    }
    Ok(kept)
}

/// Deletes whatever Stripe has of an account that is being erased, which ends what was bought meanwhile on a page that was
/// still open. Done again, it ends the same. What is being made at this moment, [`make`] takes away itself.
///
/// # Errors
/// When Stripe did not: the erasing does not end before it did.
pub async fn forget(state: &AppState, stripe: &Stripe, account_id: Uuid, email: &str) -> ApiResult<()> {
    let known = db::in_time(accounts::customer(&state.reads().account(account_id))).await?;
    // Also what a job made that was killed before it could say so.
    let made = stripe.customers_of(account_id, email).await?;
    for customer in made.iter().chain(known.iter().filter(|known| !made.contains(known))) {
        stripe.delete_customer(customer).await?;
    }
    points::reach("stripe-customer-deleted");
    db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        erase::forget_customer(&system.account(account_id)).await
    }))
    .await
}

/// The same for all whose erasing was broken off.
///
/// # Errors
/// What the database refuses.
pub async fn forget_erased(state: &AppState) -> ApiResult<()> {
    let Some(stripe) = &state.stripe else { return Ok(()) };
    for (account_id, email) in db::in_time(erase::begun(&state.reads())).await? {
        // One that fails must not hold up the others.
        if let Err(error) = forget(state, stripe, account_id, &email).await {
            tracing::warn!(account = %account_id, %error, "an account that is being erased is still known to Stripe");
        }
    }
    Ok(())
}
