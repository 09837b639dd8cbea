//! The plans that accounts are on. The public ones are seeded at start; prices are Stripe's, and their ids come from
//! the configuration. What changes an account's plan, a subscription or an operator, goes through [`change`].

pub mod archive;
pub mod change;
pub mod private;

use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult, Code},
    tenancy::SystemScope,
};

/// The plan of an account that pays nothing.
pub const FREE: &str = "free";

/// Slug, name, tier and sends per period of the public plans.
const SEED: [(&str, &str, i32, i64); 4] = [
    (FREE, "Free", 0, 100),
    ("hobby", "Hobby", 1, 5_000),
    ("pro", "Pro", 2, 25_000),
    ("scale", "Scale", 3, 150_000),
];

const COLUMNS: &str = "id, slug, name, tier, monthly_limit, public, stripe_price_id, archived_at";

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its id.
    pub id: Uuid,
    /// What it is known by.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// Its place among the others, 0 first.
    pub tier: i32,
    /// The most sends of a period.
    pub monthly_limit: i64,
    /// Whether everybody sees it.
    pub public: bool,
    /// What it is bought as.
    pub stripe_price_id: Option<String>,
    /// Whether nobody can take it any more.
    pub archived: bool,
}

impl Plan {
    /// Whether anybody may buy it: not a free, private or archived plan.
    pub fn is_sold(&self) -> bool {
        self.public && !self.archived && self.slug != FREE
    }

    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get("", "id")?,
            slug: row.try_get("", "slug")?,
            name: row.try_get("", "name")?,
            tier: row.try_get("", "tier")?,
            monthly_limit: row.try_get("", "monthly_limit")?,
            public: row.try_get("", "public")?,
            stripe_price_id: row.try_get("", "stripe_price_id")?,
            archived: row.try_get::<Option<Timestamp>>("", "archived_at")?.is_some(),
        })
    }
}

/// Adds the public plans where they are missing; changes none that is there.
///
/// # Errors
/// What the database refuses.
pub async fn seed(system: &SystemScope, now: Timestamp) -> Result<(), DbErr> {
    for (slug, name, tier, monthly_limit) in SEED {
        system
            .execute(
                "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (slug) DO NOTHING",
                [
                    new_id().into(),
                    slug.into(),
                    name.into(),
                    tier.into(),
                    monthly_limit.into(),
                    true.into(),
                    now.micros().into(),
                ],
            )
            .await?;
    }
    Ok(())
}

/// Gives plans the prices of the configuration, by slug; `None` takes a price away. Plans that are not named keep
/// theirs, and all do where there is no price at all: a task in a shell that knows of none takes none away from servers
/// that do. Answers the slugs of those that changed.
///
/// # Errors
/// What the database refuses.
pub async fn sync_prices(
    system: &SystemScope,
    prices: &[(&'static str, Option<String>)],
) -> Result<Vec<&'static str>, DbErr> {
    let mut changed = Vec::new();
    if prices.iter().all(|(_, price)| price.is_none()) {
        return Ok(changed);
    }
    for (slug, price) in prices {
        let sql = "UPDATE plans SET stripe_price_id = $2 WHERE slug = $1 \
                   AND coalesce(stripe_price_id, '') <> coalesce($2, '')";
        if system.execute(sql, [(*slug).into(), price.clone().into()]).await? > 0 {
            changed.push(*slug);
        }
    }
    Ok(changed)
}

/// Every plan by tier, private and archived ones too.
///
/// # Errors
/// What the database refuses.
pub async fn list(system: &SystemScope) -> ApiResult<Vec<Plan>> {
    let sql = format!("SELECT {COLUMNS} FROM plans ORDER BY tier, slug");
    let rows = system.query(&sql, []).await?;
    Ok(rows.iter().map(Plan::of).collect::<Result<_, _>>()?)
}

/// The plans that everybody sees, by tier.
///
/// # Errors
/// What the database refuses.
pub async fn listed(system: &SystemScope) -> ApiResult<Vec<Plan>> {
    let mut plans = list(system).await?;
    plans.retain(|plan| plan.public && !plan.archived);
    Ok(plans)
}

/// The plan of that slug, private and archived ones too.
///
/// # Errors
/// `plan_not_found`.
pub async fn find(system: &SystemScope, slug: &str) -> ApiResult<Plan> {
    let sql = format!("SELECT {COLUMNS} FROM plans WHERE slug = $1");
    let row = system.query_one(&sql, [slug.into()]).await?;
    Ok(Plan::of(&row.ok_or_else(|| ApiError::new(Code::PlanNotFound))?)?)
}

/// The id of a plan.
///
/// # Errors
/// `plan_not_found`.
pub async fn id_of(system: &SystemScope, slug: &str) -> Result<Uuid, ApiError> {
    Ok(find(system, slug).await?.id)
}

/// Puts an account on a plan, by the word of an operator; its sends of the period stay counted, and what waited for a
/// higher limit goes on. In a transaction, before any other lock. Ring the sender's doorbell after the commit.
/// Answers whether anything changed.
///
/// # Errors
/// `plan_not_found`; `unprocessable` for an archived plan, and for an account whose plan follows a subscription, which
/// would put it back; `not_found` for an unknown account.
pub async fn assign(system: &SystemScope, account_id: Uuid, slug: &str, now: Timestamp) -> ApiResult<bool> {
    let plan = find(system, slug).await?;
    if plan.archived {
        return Err(ApiError::unprocessable("The plan is archived"));
    }
    let scope = system.account(account_id);
    let held = change::hold(&scope).await?.ok_or_else(|| ApiError::new(Code::NotFound))?;
    if let Some(subscription) = &held.subscription_id {
        return Err(ApiError::unprocessable(format!(
            "The account's plan follows its subscription {subscription}: end that first"
        )));
    }
    change::apply(&scope, &held, &change::Standing { plan_id: plan.id, ..held.clone() }, now).await
}
