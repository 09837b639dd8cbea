//! Plans that nobody can take any more. Whoever has one keeps it, by a subscription or without.

use super::{FREE, find};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    tenancy::SystemScope,
};

/// Archives a plan, or takes it back; answers whether that changes anything.
///
/// # Errors
/// `plan_not_found`; `unprocessable` for the free plan, on which every account begins and to which it falls back.
pub async fn set_archived(
    system: &SystemScope,
    slug: &str,
    archived: bool,
    now: Timestamp,
) -> ApiResult<bool> {
    if find(system, slug).await?.slug == FREE {
        return Err(ApiError::unprocessable("Every account begins on the free plan: it cannot be archived"));
    }
    let at = archived.then(|| now.micros());
    let sql = "UPDATE plans SET archived_at = $2 WHERE slug = $1 AND (archived_at IS NULL) <> ($2 IS NULL)";
    Ok(system.execute(sql, [slug.into(), at.into()]).await? > 0)
}
