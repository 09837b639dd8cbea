//! The decisions over their whole range: what the gate says, what each outcome makes of the rows, what is counted.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod record;

use rstest::rstest;

use super::{
    decide::{Ask, Change, Counts, EnrollmentChange, Outcome, Verdict, decide},
    facts::Facts,
};
use crate::{
    clock::{Timestamp, new_id},
    models::{
        deliveries::evidence::Heard,
        states::{CampaignStatus, DeliveryState, EnrollmentStatus, Progress},
    },
};

const DAY: i64 = 20_000;
const NOW: Timestamp = Timestamp::from_seconds(DAY * 86_400 + 60);
const REPLY: &str = "250 2.0.0 queued as 4711";

/// A claimed delivery of this step, with a place in this day.
fn claimed(position: i32, day: i64) -> Facts {
    Facts {
        delivery_id: new_id(),
        account_id: new_id(),
        campaign_id: new_id(),
        enrollment_id: new_id(),
        credential_id: new_id(),
        batch_id: new_id(),
        position,
        state: DeliveryState::Claimed,
        token: Some(new_id()),
        process_id: Some(new_id()),
        attempts: 0,
        heard: None,
        reserved_period: Some(Timestamp::from_day(day).month_start()),
        reserved_day: Some(day),
        status: EnrollmentStatus::Pending,
        progress: Progress::Claimed,
        current_step: position - 1,
        sent_before: position > 1,
        bounced_before: false,
        unsubscribed_before: false,
        next_delay: None,
        campaign_status: CampaignStatus::Active,
        min_wait_seconds: 0,
        gone: false,
        contact_deleted: false,
        lane_closed: false,
        mailbox_unread: false,
        listened: false,
        suppressed: false,
    }
}

#[test]
fn a_first_step_claimed_before_midnight_is_given_back_after_it_and_a_later_step_goes() {
    let day = 20_000;
    let (late, midnight) =
        (Timestamp::from_micros(Timestamp::from_day(day + 1).micros() - 1), Timestamp::from_day(day + 1));
    let asked = |position, now| {
        let facts = claimed(position, day);
        decide(&facts, facts.token, &Ask::Mark([0; 32]), now)
    };
    assert_eq!(asked(1, late).0, Verdict::Marked);
    assert_eq!(asked(2, midnight).0, Verdict::Marked, "the day counts first steps only");
    let (verdict, change) = asked(1, midnight);
    assert_eq!(verdict, Verdict::GivenBack);
    let is_free = change.is_some_and(|change| {
        change.counts.released && change.counts.back_to_batch && change.state == DeliveryState::Queued
    });
    assert!(is_free, "its place and its turn are free");
}

fn asked(facts: &Facts, ask: &Ask) -> (Verdict, Option<Change>) {
    decide(facts, facts.token, ask, NOW)
}

fn marking(facts: &Facts) -> (Verdict, Option<Change>) {
    asked(facts, &Ask::Mark([0; 32]))
}

fn accepted() -> Outcome {
    Outcome::Accepted { reply: REPLY.into(), provider_id: Some("4711".into()) }
}

/// The delivery in this state and let go, with nothing else changed and nothing counted.
fn left(facts: &Facts, state: DeliveryState) -> Change {
    Change {
        delivery_id: facts.delivery_id,
        enrollment_id: facts.enrollment_id,
        state,
        attempts: facts.attempts,
        reply: None,
        provider_id: None,
        sent_at: None,
        held: false,
        came_back: false,
        enrollment: None,
        counts: Counts::default(),
    }
}

/// The enrollment in this progress, with nothing else changed.
fn enrolled(facts: &Facts, progress: Progress) -> EnrollmentChange {
    EnrollmentChange {
        progress,
        status: facts.status,
        next_position: facts.position,
        current_step: facts.current_step,
        due_at: None,
        retrying: false,
        sent_at: None,
        bounced_at: None,
        bounce_reason: None,
        unsubscribed_at: None,
        leaves_lane: false,
    }
}

const RELEASED: Counts = Counts {
    released: true,
    accepted: false,
    bounced: false,
    unsendable: false,
    unsubscribed: false,
    left_pending: false,
    first_sent: false,
    first_sent_or_bounced: false,
    uncertain: 0,
    back_to_batch: false,
};

fn skipped(facts: &Facts) -> Change {
    let enrollment = Some(enrolled(facts, Progress::Finished));
    Change { enrollment, counts: RELEASED, ..left(facts, DeliveryState::Skipped) }
}

fn back_to_the_batch(facts: &Facts) -> Change {
    let enrollment = EnrollmentChange { leaves_lane: true, ..enrolled(facts, Progress::Queued) };
    let counts = Counts { back_to_batch: true, ..RELEASED };
    Change { enrollment: Some(enrollment), counts, ..left(facts, DeliveryState::Queued) }
}

fn back_to_the_lane(facts: &Facts, due_at: Timestamp) -> Change {
    let enrollment = EnrollmentChange { due_at: Some(due_at), ..enrolled(facts, Progress::Waiting) };
    Change { enrollment: Some(enrollment), counts: RELEASED, ..left(facts, DeliveryState::Queued) }
}

#[test]
fn a_mark_changes_the_state_alone_and_keeps_the_hold() {
    let facts = claimed(1, DAY);
    let marked = Change { held: true, ..left(&facts, DeliveryState::Sending) };
    assert_eq!(marking(&facts), (Verdict::Marked, Some(marked)));
}

#[test]
fn a_stale_token_changes_nothing() {
    for ask in [Ask::Mark([0; 32]), Ask::Record(accepted(), 0.5), Ask::Void] {
        let facts = Facts { state: DeliveryState::Claimed, ..claimed(1, DAY) };
        assert_eq!(decide(&facts, Some(new_id()), &ask, NOW), (Verdict::LostLease, None), "{ask:?}");
        let free = Facts { token: None, ..facts };
        assert_eq!(decide(&free, Some(new_id()), &ask, NOW), (Verdict::LostLease, None), "{ask:?}");
    }
}

#[test]
fn each_ask_meets_the_states_that_it_is_for_and_no_other() {
    use DeliveryState::{Claimed, Sending, Uncertain};
    for state in DeliveryState::ALL {
        let facts = Facts { state: *state, ..claimed(1, DAY) };
        let meets = |ask: &Ask| asked(&facts, ask).0 != Verdict::LostLease;
        assert_eq!(meets(&Ask::Mark([0; 32])), *state == Claimed, "a mark, {state:?}");
        assert_eq!(meets(&Ask::Void), matches!(state, Claimed | Sending), "a void, {state:?}");
        let record = Ask::Record(accepted(), 0.5);
        assert_eq!(meets(&record), matches!(state, Claimed | Sending | Uncertain), "a record, {state:?}");
    }
}

#[rstest]
#[case::gone(Facts { gone: true, ..claimed(1, DAY) })]
#[case::answered(Facts { status: EnrollmentStatus::Replied, ..claimed(2, DAY) })]
#[case::gone_and_paused(Facts { gone: true, campaign_status: CampaignStatus::Paused, ..claimed(1, DAY) })]
fn what_may_never_go_is_skipped(#[case] facts: Facts) {
    assert_eq!(marking(&facts), (Verdict::Skipped, Some(skipped(&facts))));
}

#[rstest]
#[case(true, EnrollmentStatus::Pending, true)]
#[case(true, EnrollmentStatus::Sent, false)]
#[case(false, EnrollmentStatus::Pending, false)]
fn a_skipped_enrollment_leaves_the_pending_ones_with_its_contact(
    #[case] contact_deleted: bool,
    #[case] status: EnrollmentStatus,
    #[case] left_pending: bool,
) {
    let facts = Facts { gone: true, contact_deleted, status, ..claimed(1, DAY) };
    let counts = Counts { left_pending, ..RELEASED };
    assert_eq!(marking(&facts).1, Some(Change { counts, ..skipped(&facts) }));
}

#[rstest]
#[case(EnrollmentStatus::Pending, false)]
#[case(EnrollmentStatus::Opened, false)]
#[case(EnrollmentStatus::Opened, true)]
fn a_suppressed_address_is_unsubscribed_instead(
    #[case] status: EnrollmentStatus,
    #[case] unsubscribed_before: bool,
) {
    let facts = Facts { suppressed: true, status, unsubscribed_before, ..claimed(1, DAY) };
    let enrollment = EnrollmentChange {
        status: EnrollmentStatus::Unsubscribed,
        unsubscribed_at: Some(NOW),
        ..enrolled(&facts, Progress::Finished)
    };
    let counts = Counts {
        unsubscribed: !unsubscribed_before,
        left_pending: status == EnrollmentStatus::Pending,
        ..RELEASED
    };
    let expected = Change { enrollment: Some(enrollment), counts, ..left(&facts, DeliveryState::Skipped) };
    assert_eq!(marking(&facts), (Verdict::Skipped, Some(expected)));
}

#[rstest]
#[case::paused(Facts { campaign_status: CampaignStatus::Paused, ..claimed(1, DAY) })]
#[case::completed(Facts { campaign_status: CampaignStatus::Completed, ..claimed(1, DAY) })]
#[case::closed(Facts { lane_closed: true, ..claimed(1, DAY) })]
fn what_is_stopped_goes_back_to_its_batch(#[case] facts: Facts) {
    assert_eq!(marking(&facts), (Verdict::GivenBack, Some(back_to_the_batch(&facts))));
}

#[test]
fn a_later_step_waits_for_the_mailbox_to_be_read_and_the_first_does_not() {
    let unread = |position| Facts { mailbox_unread: true, ..claimed(position, DAY) };
    assert_eq!(marking(&unread(1)).0, Verdict::Marked);
    let facts = unread(2);
    assert_eq!(marking(&facts), (Verdict::GivenBack, Some(back_to_the_lane(&facts, NOW))));
}

#[test]
fn a_place_in_a_day_that_is_still_to_come_is_kept() {
    assert_eq!(marking(&claimed(1, DAY + 1)).0, Verdict::Marked);
    assert_eq!(marking(&Facts { reserved_day: None, ..claimed(1, DAY) }).0, Verdict::Marked);
}
