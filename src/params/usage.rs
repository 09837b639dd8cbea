//! `?since=` of `GET /usage`: so many days, or a moment.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
};

const DAY: Duration = Duration::from_secs(86_400);
/// Days when none are named.
const DAYS: u32 = 7;

/// The query of `GET /usage`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageSince {
    since: Option<String>,
}

impl UsageSince {
    /// The moment that is meant.
    ///
    /// # Errors
    /// `bad_request` when it is neither days nor a time.
    pub fn parse(&self, now: Timestamp) -> ApiResult<Timestamp> {
        let ago = |days: u32| now.minus(DAY.saturating_mul(days));
        let Some(text) = self.since.as_deref() else { return Ok(ago(DAYS)) };
        match text.strip_suffix('d').filter(|days| days.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(days) => days.parse().ok().filter(|days| (1..=36_500).contains(days)).map(ago),
            // A plus in a query is a space.
            None => text.replace(' ', "+").parse().ok(),
        }
        .ok_or_else(|| {
            ApiError::bad_request("Query parameter `since` must be days (such as `7d`) or an ISO 8601 time")
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn since(text: &str) -> ApiResult<Timestamp> {
        let now = "2026-04-27T10:30:00Z".parse().unwrap();
        UsageSince { since: Some(text.to_owned()) }.parse(now)
    }

    #[test]
    fn days_and_times_are_understood_and_nothing_else() {
        assert_eq!(since("1d").unwrap().to_string(), "2026-04-26T10:30:00Z");
        assert_eq!(since("2026-04-01T00:00:00 02:00").unwrap().to_string(), "2026-03-31T22:00:00Z");
        assert_eq!(since("2026-04-01").unwrap().to_string(), "2026-04-01T00:00:00Z");
        for wrong in ["", "d", "7", "0d", "-1d", "+1d", "1.5d", "7 d", "7h", "99999999999d", "yesterday"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
