//! Who may come in: the bearer key of a request, turned into a [`Caller`]. Handlers that are not public take a
//! [`Scope`] (reads) or a [`super::write::Write`] (changes), and both come through here.

use axum::{
    extract::FromRequestParts,
    http::{Method, header, request::Parts},
};
use loco_rs::app::AppContext;

use super::rate_limit::{self, Subject};
use crate::{
    clock::Timestamp,
    crypto::ApiKeyPlaintext,
    errors::{ApiError, Code},
    models::api_keys,
    state::AppState,
    tenancy::{Caller, Conn, Scope},
};

/// The caller of a request.
///
/// # Errors
/// `unauthorized` when the key is missing, malformed, unknown or revoked; `rate_limited` when it asks too often.
pub async fn authenticate(parts: &mut Parts, ctx: &AppContext) -> Result<Caller, ApiError> {
    if let Some(known) = parts.extensions.get::<Caller>() {
        return Ok(*known);
    }
    let key = bearer(parts).ok_or_else(|| ApiError::new(Code::Unauthorized))?;
    let state = AppState::of(ctx)?;
    let now = Timestamp::now();
    let (caller, use_is_old) =
        api_keys::authenticate(&state.key_lookups, &state.db, &key.digest(), now).await?;
    // HEAD records nothing.
    if use_is_old && parts.method != Method::HEAD {
        state.usage.use_key(caller.api_key_id());
    }
    state.usage.count(&caller, parts, now);
    parts.extensions.insert(caller);
    rate_limit::admit(parts, &state.limits, Subject::Key(caller.api_key_id())).await?;
    Ok(caller)
}

/// RFC 6750, section 2.1; the scheme is compared without case (RFC 9110, section 11.1).
fn bearer(parts: &Parts) -> Option<ApiKeyPlaintext> {
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (given.next()?, given.next());
    if second.is_some() {
        return None;
    }
    let (scheme, key) = first.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { ApiKeyPlaintext::parse(key.trim()) } else { None }
}

impl FromRequestParts<AppContext> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, ApiError> {
        authenticate(parts, ctx).await
    }
}

/// A scope for reading, on the pool.
impl FromRequestParts<AppContext> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &AppContext) -> Result<Self, ApiError> {
        let caller = authenticate(parts, ctx).await?;
        let state = AppState::of(ctx)?;
        Ok(Self::of(&caller, Conn::Pool(state.db.pool().clone())))
    }
}
