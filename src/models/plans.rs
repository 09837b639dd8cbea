//! The plans that accounts are on. Rows are seeded at start; prices are Stripe's.

use sea_orm::DbErr;
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, Code},
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

/// The id of a plan.
///
/// # Errors
/// `plan_not_found`.
pub async fn id_of(system: &SystemScope, slug: &str) -> Result<Uuid, ApiError> {
    let row = system.query_one("SELECT id FROM plans WHERE slug = $1", [slug.into()]).await?;
    Ok(row.ok_or_else(|| ApiError::new(Code::PlanNotFound))?.try_get("", "id")?)
}
