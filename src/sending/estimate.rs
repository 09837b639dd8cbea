//! A cheap estimate of when a campaign's messages go out, from counts, waits and daily limits; no simulation.

use std::time::Duration;

use crate::clock::Timestamp;

const DAY_SECONDS: i64 = 86_400;

/// A lane that may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// When its wait is over.
    pub next_send_at: Timestamp,
    /// First steps that it may still send today.
    pub left_today: i64,
    /// First steps that it may send on a day.
    pub daily_limit: i64,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The present.
    pub now: Timestamp,
    /// Enrollments whose first step is to be sent.
    pub first_steps: i64,
    /// From when on.
    pub due_at: Timestamp,
    /// Mean wait of a lane between two messages, in seconds.
    pub wait_seconds: i64,
    /// Steps of the sequence.
    pub steps: i64,
    /// How long after the first step the last one is due.
    pub follow_up_delay: Duration,
    /// Lanes.
    pub lanes: Vec<Lane>,
}

/// When the first and the last message go, if nothing goes wrong and nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The first.
    pub first_send_at: Timestamp,
    /// The last.
    pub finish_at: Timestamp,
}

impl Load {
    /// When a lane may send of it.
    fn free_at(&self, lane: &Lane) -> Timestamp {
        lane.next_send_at.max(self.due_at)
    }

    /// First steps that a lane may send on the day on which they fall due. What it has left today is today's alone.
    fn places(&self, lane: &Lane) -> i64 {
        let day = self.due_at.day();
        if self.free_at(lane).day() > day {
            0
        } else if day > self.now.day() {
            lane.daily_limit
        } else {
            lane.left_today.max(0)
        }
    }
}

/// Estimates a load.
pub fn estimate(load: &Load) -> Estimate {
    let next_day = Timestamp::from_day(load.due_at.day() + 1);
    let earliest = |lane: &Lane| {
        let free = load.free_at(lane);
        if load.places(lane) > 0 { free } else { free.max(next_day) }
    };
    let first_send_at = load.lanes.iter().map(earliest).min().unwrap_or(load.due_at);
    let lanes = i64::try_from(load.lanes.len()).unwrap_or(1).max(1);
    // Follow-ups take turns of the same lanes.
    let busy = ceil(load.first_steps * load.steps.max(1), lanes).saturating_sub(1) * load.wait_seconds;
    let paced = first_send_at.plus(seconds(busy));
    let capped = last_first_step(load, first_send_at);
    Estimate { first_send_at, finish_at: paced.max(capped).plus(load.follow_up_delay) }
}

/// When daily limits and waits let the last first step go.
fn last_first_step(load: &Load, first_send_at: Timestamp) -> Timestamp {
    let by_pace = DAY_SECONDS / load.wait_seconds.max(1);
    let on_first_day: i64 = load.lanes.iter().map(|lane| load.places(lane).min(by_pace)).sum();
    let per_day: i64 = load.lanes.iter().map(|lane| lane.daily_limit.min(by_pace)).sum::<i64>().max(1);
    let later = load.first_steps - on_first_day;
    if later <= 0 {
        return first_send_at;
    }
    let days = ceil(later, per_day);
    let on_last_day = later - (days - 1) * per_day;
    let lanes = i64::try_from(load.lanes.len()).unwrap_or(1).max(1);
    let into_day = (ceil(on_last_day, lanes) - 1).max(0) * load.wait_seconds;
    Timestamp::from_day(load.due_at.day() + days).plus(seconds(into_day))
}

const fn ceil(number: i64, by: i64) -> i64 {
    (number + by - 1) / by
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(43_200);

    fn load(first_steps: i64, left_today: i64) -> Load {
        Load {
            now: NOON,
            first_steps,
            due_at: NOON,
            wait_seconds: 100,
            steps: 1,
            follow_up_delay: Duration::ZERO,
            lanes: vec![Lane { next_send_at: Timestamp::default(), left_today, daily_limit: 10 }],
        }
    }

    #[test]
    fn messages_follow_one_another_at_the_mean_wait() {
        let found = estimate(&load(5, 10));
        assert_eq!(found.first_send_at, NOON);
        assert_eq!(found.finish_at, NOON.plus(Duration::from_secs(400)));
    }

    #[test]
    fn what_does_not_fit_goes_on_later_days() {
        let found = estimate(&load(15, 0));
        assert_eq!(found.first_send_at, Timestamp::from_day(1));
        assert_eq!(found.finish_at, Timestamp::from_day(2).plus(Duration::from_secs(400)));
    }

    #[test]
    fn what_is_left_today_is_spent_on_no_other_day() {
        let next_noon = NOON.plus(Duration::from_secs(86_400));
        // Due tomorrow, all ten places are there, whether or not today's are used up.
        for left_today in [0, 3, 10] {
            let found = estimate(&Load { due_at: next_noon, ..load(10, left_today) });
            assert_eq!(found.first_send_at, next_noon, "{left_today} left today");
            assert_eq!(found.finish_at, next_noon.plus(Duration::from_secs(900)), "{left_today} left today");
        }
        let over = estimate(&Load { due_at: next_noon, ..load(11, 10) });
        assert_eq!(over.finish_at, Timestamp::from_day(2));
        // Due today, and its lane rests until tomorrow.
        let rests = vec![Lane { next_send_at: next_noon, left_today: 10, daily_limit: 10 }];
        let found = estimate(&Load { lanes: rests.clone(), ..load(1, 10) });
        assert_eq!((found.first_send_at, found.finish_at), (next_noon, next_noon));
        // More than its first day takes.
        let found = estimate(&Load { lanes: rests, ..load(15, 10) });
        assert_eq!(found.finish_at, Timestamp::from_day(2).plus(Duration::from_secs(400)));
    }

    #[test]
    fn a_lane_sends_no_more_on_a_day_than_its_wait_allows() {
        let lane = |daily_limit| Lane { next_send_at: NOON, left_today: daily_limit, daily_limit };
        // Two a day at that wait: three with the small lane's one, so ten need what is left of today and three days.
        let load = Load { wait_seconds: 43_200, lanes: vec![lane(1), lane(100)], ..load(10, 0) };
        assert_eq!(estimate(&load).finish_at, Timestamp::from_day(3));
    }

    #[test]
    fn follow_ups_take_their_delay_after_the_last_first_step() {
        let week = Duration::from_secs(7 * 86_400);
        let found = estimate(&Load { steps: 2, follow_up_delay: week, ..load(1, 10) });
        assert_eq!(found.finish_at, NOON.plus(week).plus(Duration::from_secs(100)));
    }
}
