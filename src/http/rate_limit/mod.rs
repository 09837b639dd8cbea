//! How often a key, or an address at signup, may ask. The window is fixed and begins with the first request in it.
//!
//! A request is counted once, right after it was authenticated and before its body is read; what stands is announced
//! on every answer of it, whoever made the answer. Counted in this process always, and in Redis where nodes share one:
//! when Redis is away, this process's own count goes on.

mod memory;
mod shared;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

pub use memory::Windows;
pub use shared::Store;

use crate::{
    config::{ConfigError, LimitSettings},
    errors::{ApiError, ApiResult, Code},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key.
    Key(Uuid),
    /// Whoever signs up from this network.
    Network(IpNet),
}

/// How many requests are allowed in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    name: &'static str,
    quota: u32,
    window: Duration,
}

impl Policy {
    const fn per_minute(quota: u32) -> Self {
        Self { name: "key", quota, window: Duration::from_secs(60) }
    }

    const fn signups_per_hour(quota: u32) -> Self {
        Self { name: "signup", quota, window: Duration::from_secs(3_600) }
    }
}

/// What a window holds after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Requests in the window, this one included.
    pub used: u64,
    /// Until the window ends.
    pub resets_in: Duration,
}

/// How a limited request stands; announced on its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    policy: Policy,
    left: u32,
    /// In whole seconds, rounded up, so that a client that waits so long is let in.
    reset: u32,
    refused: bool,
}

impl Standing {
    fn new(policy: Policy, count: Count) -> Self {
        let used = u32::try_from(count.used).unwrap_or(u32::MAX);
        let reset = count.resets_in.as_millis().div_ceil(1_000).max(1);
        Self {
            policy,
            left: policy.quota.saturating_sub(used),
            reset: u32::try_from(reset).unwrap_or(u32::MAX),
            refused: used > policy.quota,
        }
    }

    fn announce(self, headers: &mut HeaderMap) {
        let Policy { name, quota, window } = self.policy;
        let policy = format!("\"{name}\";q={quota};w={}", window.as_secs());
        let standing = format!("\"{name}\";r={};t={}", self.left, self.reset);
        for (header, text) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }

    fn refusal(self) -> ApiError {
        ApiError::new(Code::RateLimited).retry_after(self.reset).details(json!({
            "limit": self.policy.quota, "period": self.policy.window.as_secs()
        }))
    }
}

/// The limits of this process and what was counted against them; cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimits {
    key: Policy,
    signup: Policy,
    keys: Arc<Windows>,
    signups: Arc<Windows>,
    store: Option<Arc<Store>>,
}

impl RateLimits {
    /// Empty windows, and the shared store where one is configured (nothing is connected yet).
    ///
    /// # Errors
    /// Names `REDIS_URL` when it cannot be meant.
    pub fn new(settings: &LimitSettings) -> Result<Self, ConfigError> {
        let store = settings.redis_url.as_deref().map(Store::open).transpose()?;
        Ok(Self {
            key: Policy::per_minute(settings.per_minute),
            signup: Policy::signups_per_hour(settings.signups_per_hour),
            keys: Arc::default(),
            signups: Arc::default(),
            store: store.map(Arc::new),
        })
    }

    async fn count(&self, subject: Subject) -> Standing {
        let (policy, windows) = match subject {
            Subject::Key(_) => (self.key, &self.keys),
            Subject::Network(_) => (self.signup, &self.signups),
        };
        // Counted here too, so that this limit holds from the first request that finds the store away.
        let own = windows.count(subject, policy.window, Instant::now());
        let shared = match &self.store {
            Some(store) => store.count(subject, policy.window).await,
            None => None,
        };
        Standing::new(policy, shared.unwrap_or(own))
    }
}

/// Where a request keeps how it stands until its answer is sent.
#[derive(Clone, Debug, Default)]
struct Slot(Arc<Mutex<Option<Standing>>>);

/// Counts a request and refuses it past its limit.
///
/// # Errors
/// `rate_limited` with the seconds until the window ends.
pub async fn admit(parts: &Parts, limits: &RateLimits, subject: Subject) -> ApiResult<()> {
    let standing = limits.count(subject).await;
    if let Some(slot) = parts.extensions.get::<Slot>() {
        *slot.0.lock() = Some(standing);
    }
    if standing.refused { Err(standing.refusal()) } else { Ok(()) }
}

/// Announces on the answer how the request stands, if it was counted. Stands outside of what makes answers of panics
/// and deadlines.
pub async fn announce(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    let standing = slot.0.lock().take();
    if let Some(standing) = standing {
        standing.announce(response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn standing(used: u64, millis: u64) -> Standing {
        Standing::new(Policy::per_minute(60), Count { used, resets_in: Duration::from_millis(millis) })
    }

    #[test]
    fn the_headers_are_those_of_the_contract() {
        let mut headers = HeaderMap::new();
        standing(1, 60_000).announce(&mut headers);
        assert_eq!(headers.get("RateLimit-Policy").unwrap(), "\"key\";q=60;w=60");
        assert_eq!(headers.get("RateLimit").unwrap(), "\"key\";r=59;t=60");
        let signup = Policy::signups_per_hour(5);
        Standing::new(signup, Count { used: 9, resets_in: Duration::from_secs(7) }).announce(&mut headers);
        assert_eq!(headers.get("RateLimit-Policy").unwrap(), "\"signup\";q=5;w=3600");
        assert_eq!(headers.get("RateLimit").unwrap(), "\"signup\";r=0;t=7");
    }

    #[test]
    fn the_last_of_the_quota_is_let_in_and_the_next_is_not() {
        assert!(!standing(60, 1).refused);
        assert!(standing(61, 1).refused);
        assert!(standing(u64::MAX, 1).refused);
    }

    #[test]
    fn who_waits_as_long_as_was_said_finds_a_new_window() {
        assert_eq!([0, 1, 999, 1_000, 1_001].map(|millis| standing(61, millis).reset), [1, 1, 1, 1, 2]);
        let refusal = standing(61, 30_000).refusal();
        assert_eq!((refusal.code, refusal.retry_after), (Code::RateLimited, Some(30)));
        assert_eq!(refusal.details.unwrap(), json!({"limit": 60, "period": 60}));
    }
}
