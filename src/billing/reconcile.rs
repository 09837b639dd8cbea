//! Heals what was missed: every subscription that Stripe has is compared with what is stored, and every account gets its
//! customer. Once a night by whichever engine takes the chore, and whenever an operator asks for it.

use std::collections::HashSet;

use super::{
    Stripe, StripeFailure,
    client::Shown,
    customers,
    sync::{Synced, sync},
};
use crate::{
    clock::Timestamp,
    db,
    errors::{ApiError, ApiResult, Code},
    models::{
        accounts,
        chores::{self, Held},
        subscriptions::{
            self,
            choice::{Weight, weight},
        },
    },
    state::AppState,
    tenancy::SystemScope,
};

/// The chore's name.
const CHORE: &str = "stripe_reconcile";
/// Rows of one look: accounts without a customer, subscriptions that Stripe did not list.
const BATCH: u32 = 200;
/// So many failures one after the other mean that Stripe is away.
const AWAY: usize = 5;

/// What a run found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Subscriptions that were looked at.
    pub subscriptions: usize,
    /// Accounts whose plan, subscription or period changed.
    pub changed: usize,
    /// Customers that were made.
    pub customers: usize,
    /// What could not be done; the log says why.
    pub failed: usize,
}

/// Compares everything now.
///
/// # Errors
/// `no_stripe_customer` where there is no Stripe; `service_unavailable` when it is away.
pub async fn reconcile(state: &AppState) -> ApiResult<Reconciled> {
    Run::of(state, None)?.all().await
}

/// The same as this night's chore; `None` when it is done, or somebody else is at it. One that fails is tried again when
/// its lease has run out.
///
/// # Errors
/// As there.
pub async fn reconcile_nightly(state: &AppState, now: Timestamp) -> ApiResult<Option<Reconciled>> {
    if state.stripe.is_none() {
        return Ok(None);
    }
    let Some(held) = db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        chores::claim(system, CHORE, now).await
    }))
    .await?
    else {
        return Ok(None);
    };
    let done = Run::of(state, Some(held))?.all().await?;
    db::in_time(SystemScope::in_transaction(&state.db, async |system| {
        chores::release(system, held, Some(Timestamp::now())).await
    }))
    .await?;
    Ok(Some(done))
}

struct Run<'a> {
    state: &'a AppState,
    stripe: &'a Stripe,
    reads: SystemScope,
    chore: Option<Held>,
    done: Reconciled,
    /// Failures since the last success.
    in_a_row: usize,
}

impl<'a> Run<'a> {
    fn of(state: &'a AppState, chore: Option<Held>) -> ApiResult<Self> {
        let stripe = state.stripe.as_ref().ok_or_else(|| ApiError::new(Code::NoStripeCustomer))?;
        let reads = state.reads();
        Ok(Self { state, stripe, reads, chore, done: Reconciled::default(), in_a_row: 0 })
    }

    async fn all(mut self) -> ApiResult<Reconciled> {
        let seen = self.compare_listed().await?;
        self.ask_for_unlisted(&seen).await?;
        self.make_customers().await?;
        tracing::info!(done = ?self.done, "accounts are reconciled with Stripe");
        Ok(self.done)
    }

    /// Walks through what Stripe lists; answers what was seen.
    async fn compare_listed(&mut self) -> ApiResult<HashSet<String>> {
        let (mut seen, mut after) = (HashSet::new(), None::<String>);
        loop {
            let (page, more) = self.stripe.subscriptions(after.as_deref()).await?;
            after = page.last().map(|shown| shown.snapshot.stripe_id.clone());
            for shown in page {
                seen.insert(shown.snapshot.stripe_id.clone());
                let compared = self.compare(&shown).await;
                self.count(compared).await?;
            }
            if !more || after.is_none() {
                return Ok(seen);
            }
        }
    }

    /// Those that are stored as running and that Stripe did not list.
    async fn ask_for_unlisted(&mut self, seen: &HashSet<String>) -> ApiResult<()> {
        let mut after = None;
        loop {
            let unended = db::in_time(subscriptions::unended(&self.reads, after, BATCH)).await?;
            let Some(last) = unended.last() else { return Ok(()) };
            after = Some(last.id);
            for known in unended.iter().filter(|known| !seen.contains(&known.stripe_id)) {
                let synced = sync(self.state, self.stripe, known.account_id, &known.stripe_id).await;
                self.count(synced).await?;
            }
        }
    }

    async fn compare(&self, shown: &Shown) -> ApiResult<Synced> {
        let account = db::in_time(accounts::of_customer(&self.reads, &shown.customer)).await?;
        let Some(account_id) = account.filter(|_| shown.live == self.stripe.is_live()) else {
            return Ok(Synced::NotOurs);
        };
        let scope = self.reads.account(account_id);
        let stored = db::in_time(subscriptions::find(&scope, &shown.snapshot.stripe_id)).await?;
        if !stored.is_some_and(|row| shown.snapshot.is_stored_as(&row)) {
            return sync(self.state, self.stripe, account_id, &shown.snapshot.stripe_id).await;
        }
        if weight(&shown.snapshot.status) == Weight::Nothing {
            return Ok(Synced::Same);
        }
        // The price of its plan may be another one by now.
        let changed = db::in_time(SystemScope::in_transaction(&self.state.db, async |system| {
            subscriptions::settle(&system.account(account_id), Timestamp::now()).await
        }))
        .await?;
        if changed {
            self.state.doorbells.sender.ring();
        }
        Ok(if changed { Synced::Changed } else { Synced::Same })
    }

    async fn make_customers(&mut self) -> ApiResult<()> {
        let mut after = None;
        loop {
            let lacking = db::in_time(accounts::lacking_customer(&self.reads, after, BATCH)).await?;
            let Some(last) = lacking.last() else { return Ok(()) };
            after = Some(*last);
            for account_id in lacking {
                let made = customers::make(self.state, self.stripe, account_id).await;
                self.done.customers += usize::from(matches!(made, Ok(true)));
                self.weigh(made.map(drop)).await?;
            }
        }
    }

    async fn count(&mut self, synced: ApiResult<Synced>) -> ApiResult<()> {
        self.done.subscriptions += 1;
        self.done.changed += usize::from(matches!(synced, Ok(Synced::Changed)));
        self.weigh(synced.map(drop)).await
    }

    /// One that fails must not hold up the others; many in a row mean that none will succeed. Holds the chore.
    async fn weigh(&mut self, outcome: ApiResult<()>) -> ApiResult<()> {
        match outcome {
            Ok(()) => self.in_a_row = 0,
            Err(error) => {
                tracing::warn!(%error, "not reconciled");
                self.done.failed += 1;
                // What Stripe refuses, it refuses for that one alone.
                self.in_a_row = if error.code == Code::Unprocessable { 0 } else { self.in_a_row + 1 };
                if self.in_a_row >= AWAY {
                    return Err(error);
                }
            }
        }
        let Some(held) = self.chore else { return Ok(()) };
        let ours = db::in_time(SystemScope::in_transaction(&self.state.db, async |system| {
            chores::renew(system, held).await
        }))
        .await?;
        if ours {
            Ok(())
        } else {
            Err(StripeFailure::Away("another process has taken the chore over".into()).into())
        }
    }
}
