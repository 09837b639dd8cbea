//! When the next attempt is, and when a webhook has failed for long enough (pure).

use std::time::Duration;

use crate::clock::Timestamp;

/// The wait before each attempt, since the one before it.
pub const WAITS: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];
const HOUR: u64 = 3_600;
/// How much of a wait chance adds or takes.
const SPREAD: f64 = 0.2;
/// No endpoint puts us off for longer.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * HOUR);
/// Nothing but failures for so long disables a webhook.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 24 * HOUR);

/// The wait before the attempt after `tries` attempts; `None` when they were all. `chance` from 0 to 1 spreads it; what
/// the endpoint asked for is a lower bound, itself bounded.
pub fn next_wait(tries: i32, chance: f64, retry_after: Option<Duration>) -> Option<Duration> {
    let wait = *WAITS.get(usize::try_from(tries).ok()?)?;
    let spread = wait.mul_f64((2.0 * SPREAD).mul_add(chance.clamp(0.0, 1.0), 1.0 - SPREAD));
    Some(spread.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)))
}

/// What `Retry-After` says (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let at = Timestamp::from_seconds(i64::try_from(since_epoch.as_secs()).ok()?);
    Some(at.since(now).min(LONGEST_RETRY_AFTER))
}

/// How an endpoint is doing, as its row has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Attempts that failed since the last that did not.
    pub consecutive_failures: i32,
    /// When the first of them failed.
    pub failing_since: Option<Timestamp>,
    /// Whether it is told nothing any more, since when.
    pub disabled_at: Option<Timestamp>,
}

impl Health {
    /// After an attempt that ended at `now`. `gone`: the endpoint said that it is gone for good.
    #[must_use]
    pub fn after(self, succeeded: bool, gone: bool, now: Timestamp) -> Self {
        if succeeded {
            return Self { consecutive_failures: 0, failing_since: None, ..self };
        }
        let since = self.failing_since.unwrap_or(now);
        let over = gone || now.since(since) >= GIVE_UP_AFTER;
        Self {
            consecutive_failures: self.consecutive_failures.saturating_add(1),
            failing_since: Some(since),
            disabled_at: self.disabled_at.or_else(|| over.then_some(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    proptest! {
        #[test]
        fn every_wait_is_within_a_fifth_of_its_schedule(tries in 0_i32..10, chance in 0.0..=1.0) {
            let wait = next_wait(tries, chance, None).unwrap();
            let scheduled = WAITS[usize::try_from(tries).unwrap()];
            prop_assert!(wait >= scheduled.mul_f64(0.799_999) && wait <= scheduled.mul_f64(1.200_001));
        }

        #[test]
        fn an_endpoint_puts_off_what_is_to_come_and_never_for_more_than_a_day(
            tries in 0_i32..10,
            chance in 0.0..=1.0,
            seconds in any::<u64>(),
        ) {
            let asked = retry_after(&seconds.to_string(), NOW).unwrap();
            let wait = next_wait(tries, chance, Some(asked)).unwrap();
            prop_assert!(wait >= asked.min(LONGEST_RETRY_AFTER));
            prop_assert!(wait <= LONGEST_RETRY_AFTER.mul_f64(1.200_001));
        }

        #[test]
        fn there_are_ten_attempts(tries in 10_i32.., chance in 0.0..=1.0) {
            prop_assert_eq!(next_wait(tries, chance, Some(Duration::from_secs(1))), None);
            prop_assert_eq!(next_wait(-tries, chance, None), None);
        }

        #[test]
        fn what_is_no_time_puts_off_nothing(text in "\\PC{0,40}") {
            if let Some(wait) = retry_after(&text, NOW) {
                prop_assert!(wait <= LONGEST_RETRY_AFTER);
            }
        }
    }

    #[test]
    fn a_date_is_read_as_the_time_until_then() {
        let at = |offset| {
            httpdate::fmt_http_date(
                std::time::UNIX_EPOCH
                    + Duration::from_secs(1_800_000_000_u64.checked_add_signed(offset).unwrap()),
            )
        };
        assert_eq!(retry_after(&at(90), NOW), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(&at(-90), NOW), Some(Duration::ZERO));
        assert_eq!(retry_after(&at(999_999), NOW), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after("-1", NOW), None);
        assert_eq!(retry_after("soon", NOW), None);
    }

    #[test]
    fn nothing_but_failures_for_five_days_disables_and_one_success_forgets() {
        let day = Duration::from_secs(86_400);
        let first = Health::default().after(false, false, NOW);
        assert_eq!(first, Health { consecutive_failures: 1, failing_since: Some(NOW), disabled_at: None });
        let late = NOW.plus(day * 5).minus(Duration::from_micros(1));
        assert_eq!(first.after(false, false, late).disabled_at, None);
        let over = first.after(false, false, NOW.plus(day * 5));
        assert_eq!(over.disabled_at, Some(NOW.plus(day * 5)));
        let better = first.after(true, false, late);
        assert_eq!(better, Health::default());
        assert_eq!(better.after(false, false, NOW.plus(day * 6)).disabled_at, None);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_disabled_at_once() {
        assert_eq!(Health::default().after(false, true, NOW).disabled_at, Some(NOW));
    }
}
