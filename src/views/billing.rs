//! What plans and billing answer.

use serde::Serialize;

use crate::{
    clock::Timestamp,
    models::{
        accounts::Billing,
        periods::{Ended, Period},
        plans,
    },
};

/// A plan that everybody sees.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PlanOffer {
    slug: String,
    name: String,
    tier: i32,
    monthly_limit: i64,
    stripe_price_id: Option<String>,
}

impl From<plans::Plan> for PlanOffer {
    fn from(plan: plans::Plan) -> Self {
        let plans::Plan { id: _, slug, name, tier, monthly_limit, public: _, stripe_price_id, archived: _ } =
            plan;
        Self { slug, name, tier, monthly_limit, stripe_price_id }
    }
}

/// What an account is on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Subscription {
    plan: Plan,
    current_period: CurrentPeriod,
    stripe_subscription_id: Option<String>,
    stripe_customer_id: Option<String>,
}

/// The plan of an account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Plan {
    slug: String,
    name: String,
    tier: i32,
    monthly_limit: i64,
}

/// The period that sends are counted in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CurrentPeriod {
    start: Timestamp,
    end: Timestamp,
    sends_count: i64,
}

impl From<Billing> for Subscription {
    fn from(billing: Billing) -> Self {
        let Billing { plan, period, subscription_id, customer_id } = billing;
        let plans::Plan {
            id: _,
            slug,
            name,
            tier,
            monthly_limit,
            public: _,
            stripe_price_id: _,
            archived: _,
        } = plan;
        let Period { start: _, end, since, sends, reserved: _, limit: _, plan_slug: _ } = period;
        Self {
            plan: Plan { slug, name, tier, monthly_limit },
            current_period: CurrentPeriod { start: since, end, sends_count: sends },
            stripe_subscription_id: subscription_id,
            stripe_customer_id: customer_id,
        }
    }
}

/// What an account has sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BillingUsage {
    monthly_limit: i64,
    current: PeriodUsage,
    history: Vec<PeriodUsage>,
}

/// What was sent in a period.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PeriodUsage {
    period_start: Timestamp,
    period_end: Timestamp,
    sends_count: i64,
}

impl BillingUsage {
    /// Shows the current period, and those that have ended, the last one first.
    pub fn new(current: &Period, ended: Vec<Ended>) -> Self {
        let &Period { start: _, end, since, sends, reserved: _, limit, plan_slug: _ } = current;
        let shown = |Ended { span, sends }: Ended| PeriodUsage {
            period_start: span.start,
            period_end: span.end,
            sends_count: sends,
        };
        Self {
            monthly_limit: limit,
            current: PeriodUsage { period_start: since, period_end: end, sends_count: sends },
            history: ended.into_iter().map(shown).collect(),
        }
    }
}

/// A page of Stripe's to send somebody to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PageLink {
    /// Its address; it is good for a while, and for one person.
    pub url: String,
}

/// The answer to an event of Stripe.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Received {
    /// That it was.
    pub received: bool,
}
