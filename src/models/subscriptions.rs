//! Subscriptions as Stripe last showed them, and the plan that follows from all of an account's.
//!
//! Fetches are numbered when they begin. One is stored only if none with a higher number was: the last change at Stripe
//! makes an event, whose fetch begins after it, so whatever is stored last is not older than the last change.

pub mod choice;

use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

pub use super::_entities::subscriptions::{ActiveModel, Column, Entity, Model};
use super::{
    periods::Span,
    plans::{
        self,
        change::{self, Standing},
    },
};
use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult},
    tenancy::{Scope, SystemScope, tenant_entity},
};
use choice::{Candidate, Choice, Weight, choose, weight};

tenant_entity!(subscriptions, NotFound);

/// A subscription as Stripe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Stripe's id.
    pub stripe_id: String,
    /// Stripe's word.
    pub status: String,
    /// What it costs: the price of its item.
    pub price_id: Option<String>,
    /// The item that has the price.
    pub item_id: Option<String>,
    /// Its running period.
    pub span: Option<Span>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it was made.
    pub subscribed_at: Timestamp,
}

impl Snapshot {
    /// Whether a stored row says the same.
    pub fn is_stored_as(&self, row: &Model) -> bool {
        row.fetch_stored > 0
            && self.status == row.status
            && self.price_id == row.price_id
            && self.item_id == row.item_id
            && self.span.map(|span| span.start) == row.period_start
            && self.span.map(|span| span.end) == row.period_end
            && self.ended_at == row.ended_at
    }
}

/// Numbers a fetch that is about to begin; in a transaction of its own, before Stripe is asked.
///
/// # Errors
/// `internal_error` when the subscription is another account's.
pub async fn begin_fetch(scope: &Scope, stripe_id: &str, now: Timestamp) -> ApiResult<i64> {
    // uq_subscriptions_stripe
    let sql = "INSERT INTO subscriptions (id, account_id, stripe_id, status, subscribed_at, fetches_begun, created_at) \
               VALUES ($2, $1, $3, '', $4, 1, $4) ON CONFLICT (stripe_id) DO UPDATE \
               SET fetches_begun = subscriptions.fetches_begun + 1 WHERE subscriptions.account_id = $1 \
               RETURNING fetches_begun";
    let row = scope.query_one(sql, [new_id().into(), stripe_id.into(), now.micros().into()]).await?;
    let row = row.ok_or_else(|| ApiError::internal("the subscription belongs to another account"))?;
    Ok(row.try_get("", "fetches_begun")?)
}

/// Stores what the fetch of this number showed, unless a later one is stored, and has the account's plan follow. Answers
/// whether the account changed.
///
/// # Errors
/// What the database refuses.
pub async fn store(scope: &Scope, number: i64, shown: &Snapshot, now: Timestamp) -> ApiResult<bool> {
    let Some(held) = change::hold(scope).await? else { return Ok(false) };
    let sql = "UPDATE subscriptions SET status = $4, price_id = $5, item_id = $6, period_start = $7, period_end = $8, \
               ended_at = $9, subscribed_at = $10, fetch_stored = $3 \
               WHERE account_id = $1 AND stripe_id = $2 AND fetch_stored < $3";
    let values = [
        shown.stripe_id.clone().into(),
        number.into(),
        shown.status.clone().into(),
        shown.price_id.clone().into(),
        shown.item_id.clone().into(),
        shown.span.map(|span| span.start.micros()).into(),
        shown.span.map(|span| span.end.micros()).into(),
        shown.ended_at.map(Timestamp::micros).into(),
        shown.subscribed_at.micros().into(),
    ];
    if scope.execute(sql, values).await? == 0 {
        tracing::debug!(subscription = shown.stripe_id, number, "a later fetch is stored already");
        return Ok(false);
    }
    follow(scope, &held, now).await
}

/// Has the account's plan follow what is stored; answers whether the account changed.
///
/// # Errors
/// What the database refuses.
pub async fn settle(scope: &Scope, now: Timestamp) -> ApiResult<bool> {
    match change::hold(scope).await? {
        Some(held) => follow(scope, &held, now).await,
        None => Ok(false),
    }
}

async fn follow(scope: &Scope, held: &Standing, now: Timestamp) -> ApiResult<bool> {
    let rows = scope.find::<Entity>().filter(Column::FetchStored.gt(0)).all(&scope.db()).await?;
    let plans = by_price(scope).await?;
    let candidates: Vec<Candidate> = rows.iter().map(|row| candidate(row, &plans)).collect();
    let to = match choose(&candidates, held.subscription_id.as_deref()) {
        Choice::Follow(one, plan_id) => {
            Standing { plan_id, subscription_id: Some(one.stripe_id), span: one.span }
        }
        Choice::Keep(one) => {
            tracing::warn!(account = %scope.account_id(), subscription = one.stripe_id,
                "a subscription has a price or a status of which nothing is known; the plan stays");
            Standing { span: one.span, ..held.clone() }
        }
        Choice::Free => Standing { plan_id: free(scope).await?, subscription_id: None, span: None },
        Choice::Leave => {
            if candidates.iter().any(|one| one.weight == Weight::Gives) {
                tracing::warn!(account = %scope.account_id(), "a subscription has a price of no plan; the plan stays");
            }
            held.clone()
        }
    };
    change::apply(scope, held, &to, now).await
}

/// Plans by the price that they are bought for.
async fn by_price(scope: &Scope) -> ApiResult<Vec<(String, Uuid)>> {
    // Plans belong to nobody; `$1` binds the statement to its scope.
    let sql = "SELECT l.id, l.stripe_price_id FROM plans l JOIN accounts a ON a.id = $1 \
               WHERE l.stripe_price_id IS NOT NULL";
    let rows = scope.query(sql, []).await?;
    rows.iter().map(|row| Ok((row.try_get("", "stripe_price_id")?, row.try_get("", "id")?))).collect()
}

async fn free(scope: &Scope) -> ApiResult<Uuid> {
    let sql = "SELECT l.id FROM plans l JOIN accounts a ON a.id = $1 WHERE l.slug = $2";
    let row = scope.query_one(sql, [plans::FREE.into()]).await?;
    Ok(row.ok_or_else(|| ApiError::internal("there is no free plan"))?.try_get("", "id")?)
}

fn candidate(row: &Model, plans: &[(String, Uuid)]) -> Candidate {
    let price = row.price_id.as_deref();
    Candidate {
        stripe_id: row.stripe_id.clone(),
        weight: weight(&row.status),
        plan_id: plans.iter().find(|(known, _)| Some(known.as_str()) == price).map(|(_, plan)| *plan),
        span: row.period_start.zip(row.period_end).map(|(start, end)| Span { start, end }),
        subscribed_at: row.subscribed_at,
    }
}

/// A stored subscription by Stripe's id.
///
/// # Errors
/// What the database refuses.
pub async fn find(scope: &Scope, stripe_id: &str) -> ApiResult<Option<Model>> {
    Ok(scope.find::<Entity>().filter(Column::StripeId.eq(stripe_id)).one(&scope.db()).await?)
}

/// The subscription that the account's plan follows.
///
/// # Errors
/// What the database refuses.
pub async fn followed(scope: &Scope) -> ApiResult<Option<Model>> {
    let sql =
        "SELECT stripe_subscription_id FROM accounts WHERE id = $1 AND stripe_subscription_id IS NOT NULL";
    let Some(row) = scope.query_one(sql, []).await? else { return Ok(None) };
    find(scope, &row.try_get::<String>("", "stripe_subscription_id")?).await
}

/// A stored subscription that has not ended, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unended {
    /// Its row.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// Stripe's id.
    pub stripe_id: String,
}

/// Up to `most` stored subscriptions that have not ended, after the one of this row. In the order of the primary key.
///
/// # Errors
/// What the database refuses.
pub async fn unended(system: &SystemScope, after: Option<Uuid>, most: u32) -> ApiResult<Vec<Unended>> {
    let sql = "SELECT s.id, s.account_id, s.stripe_id FROM subscriptions s JOIN accounts a ON a.id = s.account_id \
               WHERE a.deleted_at IS NULL AND s.status NOT IN ('canceled', 'incomplete_expired') AND s.id > $1 \
               ORDER BY s.id LIMIT $2";
    let rows = system.query(sql, [after.unwrap_or_default().into(), i64::from(most).into()]).await?;
    let unended = |row: &sea_orm::QueryResult| {
        Ok(Unended {
            id: row.try_get("", "id")?,
            account_id: row.try_get("", "account_id")?,
            stripe_id: row.try_get("", "stripe_id")?,
        })
    };
    rows.iter().map(unended).collect()
}
