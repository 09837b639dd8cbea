//! How an attempt ended.

use std::time::Duration;

use super::*;

/// The same, handed over to the server.
fn sending(position: i32) -> Facts {
    Facts { state: DeliveryState::Sending, ..claimed(position, DAY) }
}

/// What a record of this outcome changes.
#[track_caller]
fn recorded(facts: &Facts, outcome: Outcome) -> Change {
    let (verdict, change) = asked(facts, &Ask::Record(outcome, 0.5));
    assert_eq!(verdict, Verdict::Recorded);
    change.unwrap_or_else(|| panic!("nothing is changed"))
}

fn deferred() -> Outcome {
    Outcome::Deferred { reply: "451 later".into() }
}

#[test]
fn what_could_not_be_made_bounces_and_its_sender_is_not_to_blame() {
    let facts = sending(1);
    let refused = recorded(&facts, bounced());
    let made = recorded(&facts, Outcome::Unsendable { reason: "550 nobody".into() });
    let counts = Counts { unsendable: true, ..refused.counts };
    assert_eq!(made, Change { counts, ..refused });
}

fn bounced() -> Outcome {
    Outcome::Bounced { reason: "550 nobody".into() }
}

#[test]
fn what_the_server_took_waits_for_its_next_step() {
    let facts = Facts { next_delay: Some(90), ..sending(1) };
    let expected = Change {
        attempts: 1,
        reply: Some(REPLY.into()),
        provider_id: Some("4711".into()),
        sent_at: Some(NOW),
        enrollment: Some(EnrollmentChange {
            status: EnrollmentStatus::Sent,
            next_position: 2,
            current_step: 1,
            due_at: Some(NOW.plus(Duration::from_secs(90 * 60))),
            sent_at: Some(NOW),
            ..enrolled(&facts, Progress::Waiting)
        }),
        counts: Counts {
            accepted: true,
            left_pending: true,
            first_sent: true,
            first_sent_or_bounced: true,
            ..RELEASED
        },
        ..left(&facts, DeliveryState::Sent)
    };
    assert_eq!(recorded(&facts, accepted()), expected);
}

#[test]
fn the_last_step_finishes_and_is_no_first_one() {
    let facts = Facts { status: EnrollmentStatus::Opened, attempts: 2, ..sending(3) };
    let change = recorded(&facts, accepted());
    assert_eq!(change.attempts, 3);
    assert_eq!(change.counts, Counts { accepted: true, ..RELEASED });
    let expected =
        EnrollmentChange { current_step: 3, sent_at: Some(NOW), ..enrolled(&facts, Progress::Finished) };
    assert_eq!(change.enrollment, Some(expected), "what is opened stays so");
}

#[rstest]
#[case::answered(Facts { status: EnrollmentStatus::Replied, ..sending(1) })]
#[case::gone(Facts { gone: true, ..sending(1) })]
fn nothing_follows_on_what_ended_meanwhile(#[case] facts: Facts) {
    let status = facts.status.raised_to(EnrollmentStatus::Sent);
    let facts = Facts { next_delay: Some(90), ..facts };
    let enrollment = recorded(&facts, accepted()).enrollment;
    let expected = EnrollmentChange {
        status,
        current_step: 1,
        sent_at: Some(NOW),
        ..enrolled(&facts, Progress::Finished)
    };
    assert_eq!(enrollment, Some(expected));
}

#[rstest]
#[case(false, false, true, true, true)]
#[case(true, false, false, false, true)]
#[case(false, true, true, false, false)]
#[case(true, true, false, false, false)]
fn an_enrollment_is_counted_once_in_each_total(
    #[case] sent_before: bool,
    #[case] bounced_before: bool,
    #[case] first_sent: bool,
    #[case] first_of_either: bool,
    #[case] first_bounce: bool,
) {
    let facts = Facts { sent_before, bounced_before, status: EnrollmentStatus::Sent, ..sending(1) };
    let counts = recorded(&facts, accepted()).counts;
    let expected = Counts { accepted: true, first_sent, first_sent_or_bounced: first_of_either, ..RELEASED };
    assert_eq!(counts, expected);
    let counts = recorded(&facts, bounced()).counts;
    assert_eq!(counts, Counts { bounced: first_bounce, first_sent_or_bounced: first_of_either, ..RELEASED });
}

#[test]
fn what_settles_an_uncertain_delivery_is_no_longer_counted_as_one() {
    let facts = Facts { state: DeliveryState::Uncertain, status: EnrollmentStatus::Sent, ..sending(2) };
    let settled = Counts { uncertain: -1, ..RELEASED };
    assert_eq!(recorded(&facts, accepted()).counts, Counts { accepted: true, ..settled });
    assert_eq!(recorded(&facts, deferred()).counts, settled);
    assert_eq!(recorded(&facts, Outcome::GivenBack).counts, settled);
    assert_eq!(recorded(&facts, bounced()).counts, Counts { bounced: true, ..settled });
    let again = asked(&facts, &Ask::Record(Outcome::Uncertain, 0.5));
    assert_eq!(again, (Verdict::Recorded, None), "it is uncertain already");
}

#[test]
fn what_is_put_off_is_tried_again_later() {
    let facts = sending(2);
    let expected = Change {
        attempts: 1,
        reply: Some("451 later".into()),
        enrollment: Some(EnrollmentChange {
            due_at: Some(NOW.plus(Duration::from_secs(300))),
            retrying: true,
            ..enrolled(&facts, Progress::Waiting)
        }),
        counts: RELEASED,
        ..left(&facts, DeliveryState::Deferred)
    };
    assert_eq!(recorded(&facts, deferred()), expected);
}

#[rstest]
#[case::gone(Facts { gone: true, ..sending(2) })]
#[case::answered(Facts { status: EnrollmentStatus::Replied, ..sending(2) })]
fn what_is_put_off_and_may_never_go_is_skipped(#[case] facts: Facts) {
    assert_eq!(recorded(&facts, deferred()), skipped(&facts));
}

#[test]
fn a_bounce_ends_the_enrollment_with_the_words_of_the_server() {
    let facts = sending(1);
    let expected = Change {
        attempts: 1,
        reply: Some("550 nobody".into()),
        enrollment: Some(EnrollmentChange {
            status: EnrollmentStatus::Bounced,
            bounced_at: Some(NOW),
            bounce_reason: Some("550 nobody".into()),
            ..enrolled(&facts, Progress::Finished)
        }),
        counts: Counts { bounced: true, left_pending: true, first_sent_or_bounced: true, ..RELEASED },
        ..left(&facts, DeliveryState::Bounced)
    };
    assert_eq!(recorded(&facts, bounced()), expected);
    let tired = Facts { attempts: 7, ..facts };
    let refused = recorded(&tired, deferred());
    assert_eq!((refused.state, refused.attempts), (DeliveryState::Bounced, 8), "no further try");
    assert_eq!(refused.reply.as_deref(), Some("451 later"));
}

#[test]
fn what_nobody_knows_stays_held_and_keeps_its_reservation() {
    let facts = sending(2);
    let expected = Change {
        held: true,
        enrollment: Some(enrolled(&facts, Progress::Uncertain)),
        counts: Counts { uncertain: 1, ..Counts::default() },
        ..left(&facts, DeliveryState::Uncertain)
    };
    assert_eq!(asked(&facts, &Ask::Void), (Verdict::Recorded, Some(expected.clone())));
    assert_eq!(recorded(&facts, Outcome::Uncertain), expected);
}

#[rstest]
#[case(Facts { heard: Some(Heard::Arrived), next_delay: Some(90), ..sending(1) })]
#[case(Facts { heard: Some(Heard::Arrived), status: EnrollmentStatus::Replied, next_delay: Some(90), ..sending(1) })]
#[case(Facts { heard: Some(Heard::Failed), status: EnrollmentStatus::Bounced, bounced_before: true, ..sending(1) })]
fn what_came_back_says_that_the_server_took_what_nobody_knows_of(#[case] facts: Facts) {
    let taken = recorded(&facts, accepted());
    let came_back = facts.heard == Some(Heard::Failed);
    let expected = Change { attempts: facts.attempts, reply: None, provider_id: None, came_back, ..taken };
    assert_eq!((expected.state, expected.held), (DeliveryState::Sent, false));
    assert_eq!(asked(&facts, &Ask::Void), (Verdict::Recorded, Some(expected.clone())));
    assert_eq!(recorded(&facts, Outcome::Uncertain), expected);
}

#[test]
fn what_came_back_takes_nothing_from_the_servers_own_words() {
    for heard in [Heard::Arrived, Heard::Failed] {
        let facts = sending(2);
        let known = Facts { heard: Some(heard), ..facts.clone() };
        for outcome in [deferred(), bounced(), Outcome::GivenBack] {
            assert_eq!(recorded(&known, outcome.clone()), recorded(&facts, outcome));
        }
        let came_back = heard == Heard::Failed;
        assert_eq!(recorded(&known, accepted()), Change { came_back, ..recorded(&facts, accepted()) });
        let unsent = Facts { state: DeliveryState::Claimed, ..known };
        assert_eq!(asked(&unsent, &Ask::Void).1, Some(back_to_the_lane(&unsent, NOW)));
    }
}

#[test]
fn an_untouched_delivery_goes_back_to_its_batch_and_any_other_to_its_lane() {
    let untouched = claimed(1, DAY);
    let expected = back_to_the_batch(&untouched);
    assert_eq!(asked(&untouched, &Ask::Void), (Verdict::Recorded, Some(expected.clone())));
    assert_eq!(recorded(&untouched, Outcome::GivenBack), expected);

    for touched in [claimed(2, DAY), Facts { sent_before: true, ..claimed(1, DAY) }] {
        assert_eq!(recorded(&touched, Outcome::GivenBack), back_to_the_lane(&touched, NOW));
    }
    let tried = Facts { attempts: 1, ..claimed(1, DAY) };
    let back = back_to_the_lane(&tried, NOW);
    let enrollment = back.enrollment.map(|enrollment| EnrollmentChange { retrying: true, ..enrollment });
    let expected = Change { state: DeliveryState::Deferred, enrollment, ..back_to_the_lane(&tried, NOW) };
    assert_eq!(recorded(&tried, Outcome::GivenBack), expected);
}

#[rstest]
#[case::gone(Facts { gone: true, ..claimed(1, DAY) })]
#[case::answered(Facts { status: EnrollmentStatus::Replied, ..claimed(2, DAY) })]
fn what_is_given_back_and_may_never_go_is_skipped(#[case] facts: Facts) {
    assert_eq!(asked(&facts, &Ask::Void), (Verdict::Recorded, Some(skipped(&facts))));
}

#[test]
fn each_outcome_is_counted_under_its_own_word() {
    let words = [accepted(), deferred(), bounced(), Outcome::Uncertain, Outcome::GivenBack];
    let words = words.map(|outcome| outcome.word());
    assert_eq!(words, ["accepted", "deferred", "bounced", "uncertain", "given_back"]);
}
