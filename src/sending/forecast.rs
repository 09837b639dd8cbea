//! What would go out when: a campaign's sends day by day, from caps, waits, delays and the plan, if nobody answers or
//! bounces. Pure: it works on counts, never on single enrollments, so that its cost does not grow with them.
//!
//! Within a day the order of the send path holds: follow-ups before first steps, lanes in rotation. Where in the day a
//! message goes is known to the mean wait, not better.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use crate::clock::Timestamp;

/// How far it looks.
const MOST_DAYS: i64 = 366;

/// A lane that may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The credential.
    pub id: Uuid,
    /// When its wait is over.
    pub free_at: Timestamp,
    /// First steps that it may still send today.
    pub left_today: u64,
    /// First steps that it may send on a day.
    pub daily_limit: u64,
}

/// Enrollments whose first step is due at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSteps {
    /// From when on.
    pub due_at: Timestamp,
    /// How many.
    pub count: u64,
}

/// Enrollments of one lane whose next step falls due in one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Their lane; none where it is gone.
    pub lane: Option<Uuid>,
    /// Their next step, from 1.
    pub position: usize,
    /// When the first of them is due.
    pub from: Timestamp,
    /// When the last is.
    pub to: Timestamp,
    /// How many.
    pub count: u64,
}

/// What the plan leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Sends that are left in this period.
    pub left: u64,
    /// Sends of every later period.
    pub per_period: u64,
    /// Where this period ends; the later ones are calendar months.
    pub ends: Timestamp,
}

/// Where a campaign stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// The present.
    pub now: Timestamp,
    /// The mean wait of a lane between two messages.
    pub wait: Duration,
    /// How long after the step before it each step is due.
    pub delays: Vec<Duration>,
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// First steps, by when they are due.
    pub first_steps: Vec<FirstSteps>,
    /// Everything that has begun.
    pub waiting: Vec<Waiting>,
    /// The plan.
    pub plan: Plan,
}

/// The sends of one UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Its number.
    pub day: i64,
    /// Sends by lane, without those that send nothing.
    pub by_lane: Vec<(Uuid, u64)>,
}

/// The forecast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Enrollments whose first step is still to go.
    pub pending: u64,
    /// Sends within the horizon.
    pub total_sends: u64,
    /// The first of them.
    pub first_send_at: Option<Timestamp>,
    /// The last of them.
    pub finish_at: Option<Timestamp>,
    /// Days on which something goes.
    pub days: Vec<Day>,
    /// The first day on which the plan holds sends back.
    pub plan_limit_reached_on: Option<i64>,
}

/// Plays a campaign's future through.
pub fn simulate(prospect: &Prospect) -> Forecast {
    let mut play = Play::new(prospect);
    let today = prospect.now.day();
    for day in today..today + MOST_DAYS {
        if play.first_steps.is_empty() && play.cohorts.is_empty() {
            break;
        }
        play.day(day);
    }
    play.forecast
}

/// Shares `total` out in turns, nobody over their cap.
fn share_out(mut total: u64, caps: &[u64]) -> Vec<u64> {
    let mut shares = vec![0_u64; caps.len()];
    loop {
        let open = shares.iter().zip(caps).filter(|(share, cap)| share < cap).count();
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        if total == 0 || open == 0 {
            return shares;
        }
        let each = (total / open).max(1);
        for (share, cap) in shares.iter_mut().zip(caps) {
            let given = each.min(cap - *share).min(total);
            *share += given;
            total -= given;
        }
    }
}

/// Waiting enrollments by lane, day on which they fall due, and next step.
type Cohorts = BTreeMap<(usize, i64, usize), (Timestamp, Timestamp, u64)>;

/// A lane's day so far.
#[derive(Clone, Copy, Debug)]
struct LaneDay {
    /// When its next message may go.
    at: Timestamp,
    /// Turns that are taken later in the day, by follow-ups that are not due yet.
    later: u64,
    /// First steps that its limit still allows.
    firsts: u64,
    /// Messages sent.
    sent: u64,
}

struct Play<'a> {
    given: &'a Prospect,
    wait: i64,
    lanes: Vec<LaneDay>,
    first_steps: Vec<FirstSteps>,
    cohorts: Cohorts,
    plan: Plan,
    end: Timestamp,
    forecast: Forecast,
}

impl<'a> Play<'a> {
    fn new(given: &'a Prospect) -> Self {
        let lane = |lane: &Lane| LaneDay { at: lane.free_at, later: 0, firsts: 0, sent: 0 };
        let mut first_steps: Vec<_> = given.first_steps.iter().copied().filter(|it| it.count > 0).collect();
        first_steps.sort_by_key(|pool| pool.due_at);
        let begun: u64 = given.waiting.iter().filter(|it| it.position <= 1).map(|it| it.count).sum();
        let pending = begun + first_steps.iter().map(|pool| pool.count).sum::<u64>();
        let mut play = Self {
            given,
            wait: i64::try_from(given.wait.as_micros()).unwrap_or(i64::MAX),
            lanes: given.lanes.iter().map(lane).collect(),
            first_steps,
            cohorts: Cohorts::new(),
            plan: given.plan,
            end: given.now,
            forecast: Forecast { pending, ..Forecast::default() },
        };
        given.waiting.iter().for_each(|waiting| play.take_in(waiting));
        play
    }

    /// What has no lane any more goes to all in turns.
    fn take_in(&mut self, waiting: &Waiting) {
        let known = waiting.lane.and_then(|id| self.given.lanes.iter().position(|lane| lane.id == id));
        let caps: Vec<u64> = (0..self.lanes.len())
            .map(|nth| if known.is_none_or(|known| known == nth) { u64::MAX } else { 0 })
            .collect();
        for (nth, count) in share_out(waiting.count, &caps).into_iter().enumerate() {
            self.schedule(nth, waiting.position, (waiting.from, waiting.to), count);
        }
    }

    /// Puts a span of due times into the days that it touches, in proportion.
    fn schedule(&mut self, lane: usize, position: usize, span: (Timestamp, Timestamp), count: u64) {
        let (from, to) = (span.0, span.1.max(span.0));
        let length = u128::try_from(to.micros() - from.micros() + 1).unwrap_or(1);
        let mut put = 0;
        for day in from.day()..=to.day() {
            let last = Timestamp::from_micros(Timestamp::from_day(day + 1).micros() - 1).min(to);
            let passed = u128::try_from(last.micros() - from.micros() + 1).unwrap_or(0);
            let until = u64::try_from(u128::from(count) * passed / length).unwrap_or(count);
            let first = Timestamp::from_day(day).max(from);
            if until > put {
                let cohort = self.cohorts.entry((lane, day, position)).or_insert((first, last, 0));
                *cohort = (cohort.0.min(first), cohort.1.max(last), cohort.2 + (until - put));
            }
            put = until;
        }
    }

    fn day(&mut self, day: i64) {
        let start = Timestamp::from_day(day).max(self.given.now);
        self.end = Timestamp::from_day(day + 1);
        while start >= self.plan.ends {
            self.plan =
                Plan { left: self.plan.per_period, ends: self.plan.ends.next_month_start(), ..self.plan };
        }
        let today = day == self.given.now.day();
        for (lane, given) in self.lanes.iter_mut().zip(&self.given.lanes) {
            let firsts = if today { given.left_today } else { given.daily_limit };
            *lane = LaneDay { at: lane.at.max(start), later: 0, firsts, sent: 0 };
        }
        // A follow-up may fall due on the day of the step before it.
        for _ in 0..=self.given.delays.len() {
            let sent = self.send_follow_ups(day) + self.send_first_steps(day);
            if sent == 0 {
                break;
            }
        }
        self.close(day);
    }

    /// Turns that a lane has from `at` to the end of the day.
    fn turns(&self, lane: &LaneDay, at: Timestamp) -> u64 {
        let left = self.end.micros() - at.micros();
        if left <= 0 {
            return 0;
        }
        let turns =
            if self.wait == 0 { u64::MAX } else { u64::try_from((left - 1) / self.wait + 1).unwrap_or(0) };
        turns.saturating_sub(lane.later)
    }

    /// What the plan lets through of what could go; notes the first day on which it holds something back.
    fn allowed(&mut self, day: i64, possible: u64) -> u64 {
        if possible > self.plan.left {
            self.forecast.plan_limit_reached_on.get_or_insert(day);
        }
        possible.min(self.plan.left)
    }

    fn send_follow_ups(&mut self, day: i64) -> u64 {
        let mut caps = Vec::with_capacity(self.lanes.len());
        for (nth, lane) in self.lanes.iter().enumerate() {
            let due: u64 = self.due(nth, day).map(|(_, cohort)| cohort.2).sum();
            caps.push(due.min(self.turns(lane, lane.at)));
        }
        let possible = caps.iter().fold(0, |sum: u64, cap| sum.saturating_add(*cap));
        let allowed = self.allowed(day, possible);
        let shares = share_out(allowed, &caps);
        shares.iter().enumerate().for_each(|(nth, share)| self.send_due(nth, day, *share));
        allowed
    }

    fn due(
        &self,
        lane: usize,
        day: i64,
    ) -> impl Iterator<Item = ((usize, i64, usize), (Timestamp, Timestamp, u64))> + '_ {
        let range = (lane, i64::MIN, 0)..=(lane, day, usize::MAX);
        self.cohorts.range(range).map(|(key, cohort)| (*key, *cohort))
    }

    /// Sends so many of a lane's due follow-ups, the longest due first.
    fn send_due(&mut self, nth: usize, day: i64, mut left: u64) {
        let due: Vec<_> = self.due(nth, day).collect();
        for (key, (from, to, count)) in due {
            let sent = count.min(left);
            if sent == 0 {
                return;
            }
            left -= sent;
            if sent == count {
                self.cohorts.remove(&key);
            } else {
                self.cohorts.insert(key, (from, to, count - sent));
            }
            let Some(lane) = self.lanes.get_mut(nth) else { return };
            let begin = lane.at.max(from);
            let span = self.wait.saturating_mul(i64::try_from(sent).unwrap_or(i64::MAX));
            if from <= lane.at {
                lane.at = Timestamp::from_micros(lane.at.micros().saturating_add(span));
            } else {
                lane.later += sent;
            }
            let last = begin.micros().saturating_add(span - self.wait).max(to.micros());
            let last = last.min(self.end.micros() - 1).max(begin.micros());
            self.sent(nth, key.2, (begin, Timestamp::from_micros(last)), sent);
        }
    }

    fn send_first_steps(&mut self, day: i64) -> u64 {
        let mut all = 0;
        let mut pools = std::mem::take(&mut self.first_steps);
        for pool in &mut pools {
            if pool.due_at >= self.end {
                break;
            }
            let cap = |lane: &LaneDay| lane.firsts.min(self.turns(lane, lane.at.max(pool.due_at)));
            let caps: Vec<u64> = self.lanes.iter().map(cap).collect();
            let room = caps.iter().fold(0, |sum: u64, cap| sum.saturating_add(*cap));
            let allowed = self.allowed(day, room.min(pool.count));
            for (nth, share) in share_out(allowed, &caps).into_iter().enumerate() {
                self.begin(nth, pool.due_at, share);
            }
            pool.count -= allowed;
            all += allowed;
        }
        pools.retain(|pool| pool.count > 0);
        self.first_steps = pools;
        all
    }

    /// A lane sends so many first steps, one after the other.
    fn begin(&mut self, nth: usize, due_at: Timestamp, count: u64) {
        let Some(lane) = self.lanes.get_mut(nth).filter(|_| count > 0) else { return };
        let begin = lane.at.max(due_at);
        let span = self.wait.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
        lane.at = Timestamp::from_micros(begin.micros().saturating_add(span));
        lane.firsts -= count;
        let last = Timestamp::from_micros(begin.micros().saturating_add(span - self.wait));
        self.sent(nth, 1, (begin, last), count);
    }

    /// Books what a lane sent, and what falls due by it.
    fn sent(&mut self, nth: usize, position: usize, span: (Timestamp, Timestamp), count: u64) {
        self.plan.left -= count;
        if let Some(lane) = self.lanes.get_mut(nth) {
            lane.sent += count;
        }
        let forecast = &mut self.forecast;
        forecast.total_sends += count;
        forecast.first_send_at = Some(forecast.first_send_at.map_or(span.0, |first| first.min(span.0)));
        forecast.finish_at = Some(forecast.finish_at.map_or(span.1, |last| last.max(span.1)));
        // `position` counts from 1, so it is the next step's place in a list that counts from 0.
        if let Some(delay) = self.given.delays.get(position) {
            self.schedule(nth, position + 1, (span.0.plus(*delay), span.1.plus(*delay)), count);
        }
    }

    fn close(&mut self, day: i64) {
        let by_lane: Vec<(Uuid, u64)> = self
            .lanes
            .iter()
            .zip(&self.given.lanes)
            .filter(|(lane, _)| lane.sent > 0)
            .map(|(lane, given)| (given.id, lane.sent))
            .collect();
        if !by_lane.is_empty() {
            self.forecast.days.push(Day { day, by_lane });
        }
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
