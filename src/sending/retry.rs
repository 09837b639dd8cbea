//! When to try again (pure): waits after a temporary refusal, and how long a lane in trouble rests.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

/// Waits after the first, second, … temporary refusal of a message.
const WAITS: [u64; 7] = [5 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 16 * HOUR];
/// A lane in trouble rests this long at first, doubling …
const LANE_REST: u64 = 5;
/// … up to this.
const LANE_REST_MOST: u64 = 900;

/// How long after refusal number `attempts` (from 1) the message is tried again; `None`: no more. `chance` in 0.0 ..= 1.0
/// spreads the wait by ± 20 %.
pub fn after_refusal(attempts: i32, chance: f64) -> Option<Duration> {
    let nth = usize::try_from(attempts.checked_sub(1)?).ok()?;
    WAITS.get(nth).map(|seconds| spread(*seconds, chance))
}

/// How long a lane rests after `failures` connections in a row that came to nothing.
pub fn lane_rest(failures: i32, chance: f64) -> Duration {
    let doublings = u32::try_from(failures.clamp(1, 16) - 1).unwrap_or(0);
    spread(LANE_REST.saturating_mul(1 << doublings).min(LANE_REST_MOST), chance)
}

#[expect(clippy::cast_precision_loss, reason = "at most some hours in seconds")]
fn spread(seconds: u64, chance: f64) -> Duration {
    Duration::from_secs_f64(seconds as f64 * 0.4f64.mul_add(chance.clamp(0.0, 1.0), 0.8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_retried_seven_times_with_growing_waits() {
        let middle: Vec<_> = (0..=8).map(|n| after_refusal(n, 0.5).map(|wait| wait.as_secs())).collect();
        let hours = |n| Some(n * HOUR);
        let expected =
            [None, Some(300), Some(1_800), hours(1), hours(2), hours(4), hours(8), hours(16), None];
        assert_eq!(middle, expected);
        assert_eq!(after_refusal(1, 0.0), Some(Duration::from_secs(240)));
        assert_eq!(after_refusal(1, 1.0), Some(Duration::from_secs(360)));
    }

    #[test]
    fn a_lane_rests_longer_each_time_up_to_a_quarter_of_an_hour() {
        let rests: Vec<_> = [1, 2, 3, 8, 9, 99].map(|n| lane_rest(n, 0.5).as_secs()).to_vec();
        assert_eq!(rests, [5, 10, 20, 640, 900, 900]);
    }
}
