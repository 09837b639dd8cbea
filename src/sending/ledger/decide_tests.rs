//! What the gate says at midnight.

use super::{
    decide::{Ask, Verdict, decide},
    facts::Facts,
};
use crate::{
    clock::{Timestamp, new_id},
    models::states::{CampaignStatus, DeliveryState, EnrollmentStatus, Progress},
};

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
