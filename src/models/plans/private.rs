//! Plans that nobody sees and an operator gives to accounts.

use super::{Plan, find};
use crate::{
    clock::{Timestamp, new_id},
    errors::{ApiError, ApiResult},
    tenancy::SystemScope,
};

/// The greatest length of a slug.
const SLUG_CHARS: usize = 50;

/// A private plan to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPlan {
    /// What it is known by; see [`slug`].
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// The most sends of a period.
    pub monthly_limit: i64,
    /// Its place among the others.
    pub tier: i32,
}

/// A slug, if it is one: small letters, digits and `_`.
pub fn slug(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let whole = !text.is_empty() && text.len() <= SLUG_CHARS && text.bytes().all(fits);
    whole.then(|| text.to_owned())
}

/// Makes it.
///
/// # Errors
/// `unprocessable` when the slug is taken.
pub async fn create(system: &SystemScope, new: &NewPlan, now: Timestamp) -> ApiResult<Plan> {
    // uq_plans_slug
    let sql = "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (slug) DO NOTHING";
    let values = [
        new_id().into(),
        new.slug.clone().into(),
        new.name.clone().into(),
        new.tier.into(),
        new.monthly_limit.into(),
        false.into(),
        now.micros().into(),
    ];
    if system.execute(sql, values).await? == 0 {
        return Err(ApiError::unprocessable("A plan has this slug already"));
    }
    find(system, &new.slug).await
}
