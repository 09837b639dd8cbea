//! Fetches one subscription and has its account follow. However many do this at the same time, and in whatever order
//! they end: what was fetched earlier never replaces what was fetched later (`models::subscriptions`).

use uuid::Uuid;

use super::Stripe;
use crate::{
    clock::Timestamp,
    db,
    errors::ApiResult,
    models::{accounts, subscriptions},
    points,
    state::AppState,
    tenancy::SystemScope,
};

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// The account's plan, subscription or period changed.
    Changed,
    /// Nothing did.
    Same,
    /// It is not for this account, or not for our key: nothing was stored.
    NotOurs,
}

/// Fetches and stores. No transaction is open meanwhile.
pub(super) async fn sync(
    state: &AppState,
    stripe: &Stripe,
    account_id: Uuid,
    subscription: &str,
) -> ApiResult<Synced> {
    let number = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        subscriptions::begin_fetch(&system.account(account_id), subscription, Timestamp::now()).await
    }))
    .await?;
    points::reach("stripe-before-fetch");
    let shown = stripe.subscription(subscription).await?;
    points::reach("stripe-fetched");
    let reads = state.reads();
    if shown.live != stripe.is_live()
        || db::in_time(accounts::of_customer(&reads, &shown.customer)).await? != Some(account_id)
    {
        tracing::error!(account = %account_id, subscription, "Stripe shows a subscription that is not this account's");
        return Ok(Synced::NotOurs);
    }
    let changed = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        subscriptions::store(&system.account(account_id), number, &shown.snapshot, Timestamp::now()).await
    }))
    .await?;
    points::reach("stripe-stored");
    if !changed {
        return Ok(Synced::Same);
    }
    tracing::info!(account = %account_id, subscription, status = shown.snapshot.status, "the account follows its subscription");
    state.doorbells.sender.ring();
    Ok(Synced::Changed)
}
