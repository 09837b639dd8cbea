//! How long a failed job waits: pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The wait after failed attempt number `attempt` (1 for the first): 5 s, doubled each time, at most an hour.
/// Eight attempts thus span about ten minutes.
pub fn retry_wait(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0);
    let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
    FIRST.saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let seconds: Vec<u64> = (1..=12).map(|attempt| retry_wait(attempt).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
    }

    #[test]
    fn no_attempt_number_overflows() {
        assert_eq!(retry_wait(i32::MAX), LONGEST);
        assert_eq!(retry_wait(0), FIRST);
        assert_eq!(retry_wait(i32::MIN), FIRST);
    }
}
