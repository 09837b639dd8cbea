//! Stripe's own pages, to which a client sends its user: subscribing to a plan, and looking after a subscription.

use uuid::Uuid;

use super::{Stripe, StripeFailure};
use crate::{
    errors::{ApiError, ApiResult, Code},
    models::{
        accounts,
        plans::{self, Plan},
        subscriptions,
    },
    state::AppState,
    tenancy::{Scope, SystemScope},
};

/// A page that is to be made.
#[derive(Clone, Debug)]
pub struct Page {
    stripe: Stripe,
    account_id: Uuid,
    customer: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Subscribe to this price.
    Subscribe(String),
    /// Change a subscription, by its item, to this price.
    Change { subscription: String, item: String, price: String },
    /// Look after it.
    Portal,
}

/// The page where an account buys a plan. Where it has a subscription, the page changes that: a second one would be paid
/// for beside it.
///
/// # Errors
/// `plan_not_found`, `plan_not_purchasable`, `no_stripe_customer`, in this order.
pub async fn checkout(scope: &Scope, system: &SystemScope, state: &AppState, slug: &str) -> ApiResult<Page> {
    let plan: Plan = plans::find(system, slug).await?;
    // Where there is Stripe, a plan without a price is one that the operator does not sell.
    if !plan.is_sold() || state.stripe.is_some() && plan.stripe_price_id.is_none() {
        return Err(ApiError::new(Code::PlanNotPurchasable));
    }
    let page = portal(scope, state).await?;
    let price = plan.stripe_price_id.ok_or_else(|| ApiError::new(Code::PlanNotPurchasable))?;
    let followed = subscriptions::followed(scope).await?;
    let kind = match followed.and_then(|row| row.item_id.map(|item| (row.stripe_id, item))) {
        Some((subscription, item)) => Kind::Change { subscription, item, price },
        None => Kind::Subscribe(price),
    };
    Ok(Page { kind, ..page })
}

/// The page where an account looks after its subscription.
///
/// # Errors
/// `no_stripe_customer`.
pub async fn portal(scope: &Scope, state: &AppState) -> ApiResult<Page> {
    let customer = accounts::customer(scope).await?;
    let (stripe, customer) =
        state.stripe.clone().zip(customer).ok_or_else(|| ApiError::new(Code::NoStripeCustomer))?;
    Ok(Page { stripe, account_id: scope.account_id(), customer, kind: Kind::Portal })
}

impl Page {
    /// Has Stripe make it; the same run makes the same page, unless Stripe breaks over it: a second page is harmless, since
    /// only the one that is answered is opened. Answers its address.
    ///
    /// # Errors
    /// When Stripe did not.
    pub async fn make(self, run_id: Uuid) -> Result<String, StripeFailure> {
        let Self { stripe, account_id, customer, kind } = self;
        match kind {
            Kind::Subscribe(price) => stripe.checkout(account_id, &customer, &price, run_id).await,
            Kind::Change { subscription, item, price } => {
                stripe.change(&customer, (&subscription, &item), &price, run_id).await
            }
            Kind::Portal => stripe.portal(&customer, run_id).await,
        }
    }
}
