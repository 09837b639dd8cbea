#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn lane(nth: u128, daily_limit: u64) -> Lane {
    Lane { id: Uuid::from_u128(nth), free_at: Timestamp::default(), left_today: daily_limit, daily_limit }
}

/// Ten contacts, one lane of a hundred a day, no waits, one step, a plan without end.
fn plain() -> Prospect {
    let now = at("2026-04-27T10:00:00Z");
    Prospect {
        now,
        wait: Duration::ZERO,
        delays: vec![Duration::ZERO],
        lanes: vec![lane(1, 100)],
        first_steps: vec![FirstSteps { due_at: now, count: 10 }],
        waiting: vec![],
        plan: Plan { left: 1_000_000, per_period: 1_000_000, ends: at("2026-05-01T00:00:00Z") },
    }
}

fn sends(forecast: &Forecast) -> Vec<u64> {
    forecast.days.iter().map(|day| day.by_lane.iter().map(|lane| lane.1).sum()).collect()
}

#[test]
fn without_waits_everything_goes_at_once() {
    let forecast = simulate(&plain());
    assert_eq!((forecast.pending, forecast.total_sends), (10, 10));
    assert_eq!(forecast.first_send_at, Some(at("2026-04-27T10:00:00Z")));
    assert_eq!(forecast.finish_at, forecast.first_send_at);
    assert_eq!(sends(&forecast), [10]);
}

#[test]
fn waits_space_the_messages_of_a_lane() {
    let forecast = simulate(&Prospect { wait: Duration::from_mins(5), ..plain() });
    assert_eq!(forecast.finish_at, Some(at("2026-04-27T10:45:00Z")));
}

#[test]
fn what_does_not_fit_the_daily_limit_goes_on_the_next_day() {
    let mut prospect = plain();
    prospect.lanes = vec![Lane { left_today: 1, ..lane(1, 4) }, lane(2, 2)];
    let forecast = simulate(&prospect);
    assert_eq!(sends(&forecast), [3, 6, 1]);
    assert_eq!(forecast.finish_at, Some(at("2026-04-29T00:00:00Z")));
    assert_eq!(forecast.days[1].by_lane, [(Uuid::from_u128(1), 4), (Uuid::from_u128(2), 2)]);
}

#[test]
fn follow_ups_stay_on_their_lane_and_do_not_count_against_the_limit() {
    let mut prospect = plain();
    prospect.lanes = vec![lane(1, 5)];
    prospect.delays = vec![Duration::ZERO, DAY, Duration::from_hours(1)];
    let forecast = simulate(&prospect);
    assert_eq!(forecast.total_sends, 30);
    // The second half begins at midnight; its second steps are due on the midnight after.
    assert_eq!(sends(&forecast), [5, 15, 10]);
    assert_eq!(forecast.finish_at, Some(at("2026-04-29T01:00:00Z")));
}

#[test]
fn a_step_that_follows_at_once_goes_on_the_same_day() {
    let mut prospect = plain();
    prospect.delays = vec![Duration::ZERO; 20];
    let forecast = simulate(&prospect);
    assert_eq!(sends(&forecast), [200]);
}

#[test]
fn the_plan_holds_sends_back_until_its_next_period() {
    let mut prospect = plain();
    prospect.plan = Plan { left: 4, per_period: 5, ends: at("2026-05-01T00:00:00Z") };
    let forecast = simulate(&prospect);
    assert_eq!(forecast.plan_limit_reached_on, Some(prospect.now.day()));
    assert_eq!(sends(&forecast), [4, 5, 1]);
    assert_eq!(forecast.finish_at, Some(at("2026-06-01T00:00:00Z")));
}

#[test]
fn first_steps_wait_for_their_delay_and_lanes_for_their_pause() {
    let mut prospect = plain();
    prospect.first_steps[0].due_at = at("2026-04-28T09:00:00Z");
    prospect.lanes[0].free_at = at("2026-04-28T09:30:00Z");
    let forecast = simulate(&prospect);
    assert_eq!(forecast.first_send_at, Some(at("2026-04-28T09:30:00Z")));
}

#[test]
fn what_lost_its_lane_goes_to_the_others() {
    let mut prospect = plain();
    prospect.first_steps.clear();
    prospect.lanes = vec![lane(1, 1), lane(2, 1)];
    let now = prospect.now;
    prospect.waiting =
        vec![Waiting { lane: Some(Uuid::from_u128(9)), position: 1, from: now, to: now, count: 7 }];
    let forecast = simulate(&prospect);
    assert_eq!(forecast.days[0].by_lane, [(Uuid::from_u128(1), 4), (Uuid::from_u128(2), 3)]);
    assert_eq!(forecast.pending, 7);
}

#[test]
fn without_a_lane_nothing_goes_and_the_horizon_ends_it() {
    let mut prospect = plain();
    prospect.lanes.clear();
    assert_eq!(simulate(&prospect), Forecast { pending: 10, ..Forecast::default() });
    prospect.lanes = vec![lane(1, 1)];
    prospect.first_steps[0].count = 1_000_000;
    let forecast = simulate(&prospect);
    assert_eq!((forecast.days.len(), forecast.total_sends), (366, 366));
}

/// Follow-ups of the first lane, due within this span.
fn waiting(from: Timestamp, to: Timestamp, count: u64) -> Waiting {
    Waiting { lane: Some(Uuid::from_u128(1)), position: 1, from, to, count }
}

#[test]
fn turns_are_shared_evenly() {
    assert_eq!(share_out(7, &[9, 9, 9, 9]), [2, 2, 2, 1]);
    assert_eq!(share_out(100, &[1, 100, 100]), [1, 50, 49]);
}

#[test]
fn a_lane_has_as_many_turns_in_a_day_as_its_wait_allows() {
    let wait = Duration::from_hours(6);
    let forecast = simulate(&Prospect { wait, ..plain() });
    assert_eq!(sends(&forecast), [3, 4, 3], "at 10, 16 and 22, then at 4");
    // A turn at midnight is the next day's.
    let mut prospect = Prospect { now: at("2026-04-27T12:00:00Z"), wait, ..plain() };
    prospect.first_steps[0].due_at = prospect.now;
    assert_eq!(sends(&simulate(&prospect)), [2, 4, 4]);
}

#[test]
fn a_span_is_spread_over_its_days_and_nothing_of_it_is_lost() {
    let mut prospect = plain();
    prospect.first_steps.clear();
    let (now, midnight) = (prospect.now, at("2026-04-28T00:00:00Z").micros());
    let micros = Timestamp::from_micros;
    for (from, to, count, expected) in [
        (now, micros(now.micros() + 1), 10, vec![10]),
        (micros(midnight - 2), micros(midnight + 1), 4, vec![2, 2]),
        (at("2026-04-27T12:00:00Z"), at("2026-04-29T11:59:59Z"), 40, vec![10, 20, 10]),
        // One that is in no day's share until the last.
        (now, now.plus(2 * DAY), 1, vec![1]),
    ] {
        prospect.waiting = vec![waiting(from, to, count)];
        assert_eq!(sends(&simulate(&prospect)), expected, "{count} from {from:?} to {to:?}");
    }
}

#[test]
fn follow_ups_that_are_due_take_the_first_turns_and_later_ones_keep_theirs() {
    let mut prospect = Prospect { wait: Duration::from_hours(1), ..plain() };
    let now = prospect.now;
    let overdue = Timestamp::from_micros(now.micros() - 1);
    prospect.waiting = vec![waiting(overdue, overdue, 3)];
    prospect.first_steps.clear();
    assert_eq!(simulate(&prospect).finish_at, Some(now.plus(Duration::from_hours(2))));
    prospect.first_steps = vec![FirstSteps { due_at: now, count: 2 }];
    let forecast = simulate(&prospect);
    assert_eq!(
        (forecast.first_send_at, forecast.finish_at),
        (Some(now), Some(now.plus(Duration::from_hours(4))))
    );

    // Two turns are left today, and one of them is for what falls due in the evening.
    let noon = at("2026-04-27T12:00:00Z");
    let evening = at("2026-04-27T20:00:00Z");
    let mut prospect = Prospect { now: noon, wait: Duration::from_hours(6), ..plain() };
    prospect.waiting = vec![waiting(evening, evening, 1)];
    prospect.first_steps[0].due_at = noon;
    assert_eq!(sends(&simulate(&prospect)), [2, 4, 4, 1]);
    // The second would go behind midnight: it is told as the day's last.
    prospect.waiting = vec![waiting(evening, evening, 2)];
    prospect.first_steps.clear();
    let last = Timestamp::from_micros(at("2026-04-28T00:00:00Z").micros() - 1);
    assert_eq!(simulate(&prospect).finish_at, Some(last));
}

#[test]
fn a_plan_that_is_just_enough_holds_nothing_back() {
    let mut prospect = plain();
    prospect.plan.left = 10;
    let forecast = simulate(&prospect);
    assert_eq!((forecast.total_sends, forecast.plan_limit_reached_on), (10, None));
}

#[test]
fn a_lane_that_has_nothing_to_send_does_not_count() {
    let mut prospect = plain();
    let later = prospect.now.plus(Duration::from_hours(2));
    prospect.lanes = vec![Lane { left_today: 0, ..lane(1, 9) }, Lane { free_at: later, ..lane(2, 9) }];
    prospect.first_steps[0].count = 1;
    let forecast = simulate(&prospect);
    assert_eq!((forecast.first_send_at, forecast.finish_at), (Some(later), Some(later)));
}

proptest! {
    #[test]
    fn no_limit_is_passed_and_nothing_is_lost(
        count in 0_u64..5_000,
        limits in prop::collection::vec(1_u64..60, 1..5),
        delays in prop::collection::vec(0_u64..3_000, 1..5),
        wait in 0_u64..2_000,
        left in 0_u64..300,
        per_period in 0_u64..5_000,
    ) {
        let now = at("2026-04-27T10:00:00Z");
        let prospect = Prospect {
            now,
            wait: Duration::from_secs(wait),
            delays: delays.iter().map(|minutes| Duration::from_mins(*minutes)).collect(),
            lanes: limits.iter().enumerate().map(|(nth, limit)| lane(nth as u128, *limit)).collect(),
            first_steps: vec![FirstSteps { due_at: now, count }],
            waiting: vec![],
            plan: Plan { left, per_period, ends: at("2026-05-01T00:00:00Z") },
        };
        let forecast = simulate(&prospect);
        let steps = delays.len() as u64;
        prop_assert!(forecast.total_sends <= count * steps);
        prop_assert_eq!(forecast.total_sends, sends(&forecast).iter().sum::<u64>());
        let may = at("2026-05-01T00:00:00Z").day();
        let april: u64 = forecast.days.iter().filter(|day| day.day < may)
            .flat_map(|day| day.by_lane.iter().map(|lane| lane.1)).sum();
        prop_assert!(april <= left);
        if steps == 1 {
            for day in &forecast.days {
                prop_assert!(day.by_lane.iter().all(|(id, sent)| *sent <= limits[usize::try_from(id.as_u128()).unwrap()]));
            }
        }
        let roomy = per_period >= 5_000 && count <= 20 && left > 20 * steps;
        if roomy && forecast.plan_limit_reached_on.is_none() {
            prop_assert_eq!(forecast.total_sends, count * steps);
        }
        if let (Some(first), Some(last)) = (forecast.first_send_at, forecast.finish_at) {
            prop_assert!(first <= last && first >= now);
        }
    }
}
