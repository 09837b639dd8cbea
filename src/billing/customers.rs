//! The customers that Stripe knows our accounts as. One is made by a job: signing up never waits for Stripe, nor fails
//! because of it. Whoever signed up while there was no Stripe gets one at night (`reconcile`).

use uuid::Uuid;

use super::Stripe;
use crate::{
    errors::{ApiResult, Code},
    jobs::{Job, enqueue_on},
    models::accounts,
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
    if accounts::customer(&reads).await?.is_some() {
        return Ok(false);
    }
    let account = match accounts::current(&reads).await {
        Err(error) if error.code == Code::Unauthorized => return Ok(false),
        found => found?,
    };
    let customer = stripe.make_customer(account_id, &account.email, account.name.as_deref()).await?;
    crate::points::reach("stripe-customer-made");
    let kept = SystemScope::in_transaction(&state.db, async |system| {
        accounts::keep_customer(&system.account(account_id), &customer).await
    })
    .await?;
    // Another was faster, or the account is gone: what it does not know is nobody's.
    if !kept && accounts::customer(&reads).await?.as_ref() != Some(&customer) {
        stripe.delete_customer(&customer).await.inspect_err(|error| {
            tracing::error!(account = %account_id, customer, %error, "a customer that is nobody's stays at Stripe");
        })?;
    }
    Ok(kept)
}
