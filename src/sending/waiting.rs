//! Why an enrollment that has more to send is not sending now: a decision on facts that were loaded once per page.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        enrollments::Model,
        states::{CampaignStatus, Progress},
    },
};

/// What an enrollment waits for, other than the delay of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingReason {
    /// Its batch was not dispatched.
    Undispatched,
    /// The campaign is paused.
    Paused,
    /// The lanes that could take it sent their first steps of the day.
    DailyLimit,
    /// The plan's sends of the period are used up.
    PlanLimit,
    /// No lane may take it.
    NoCredential,
    /// Its turn comes after the lane's wait, or after others.
    Pacing,
    /// The server put it off.
    Retry,
    /// Its lane's mailbox was not read lately, so that an answer may not have been seen.
    MailboxUnread,
    /// Nobody knows what became of its last message.
    Uncertain,
}

/// A lane that may send, as far as waiting depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// First steps that it may still send today.
    pub left_today: i64,
    /// Its mailbox was not read lately.
    pub mailbox_unread: bool,
}

/// A campaign, as far as waiting depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignFacts {
    /// Where it stands.
    pub status: CampaignStatus,
    /// Its lanes, without those that are disabled or deleted.
    pub lanes: BTreeMap<Uuid, LaneFacts>,
    /// Whether the account's period is used up.
    pub plan_used_up: bool,
    /// The time.
    pub now: Timestamp,
}

/// An enrollment, as far as its waiting depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrollmentFacts {
    /// Where the send path stands with it.
    pub progress: Progress,
    /// Whether its batch was dispatched.
    pub dispatched: bool,
    /// When its next message may go at the earliest.
    pub due_at: Option<Timestamp>,
    /// Whether that is another try.
    pub retrying: bool,
    /// Whether it is about a first step, which daily limits count.
    pub first_step: bool,
    /// The lane that has it.
    pub lane: Option<Uuid>,
}

/// An enrollment together with what its list shows beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The enrollment.
    pub row: Model,
    /// When its next message may go at the earliest, where that is known.
    pub next_send_at: Option<Timestamp>,
    /// When its batch was dispatched.
    pub dispatched_at: Option<Timestamp>,
    /// What it waits for.
    pub waiting_reason: Option<WaitingReason>,
}

/// What the enrollment waits for; `None` when it has nothing more to send, is being sent, or waits for its delay alone.
pub fn waiting_reason(campaign: &CampaignFacts, enrollment: &EnrollmentFacts) -> Option<WaitingReason> {
    match enrollment.progress {
        Progress::Finished | Progress::Claimed => return None,
        Progress::Uncertain => return Some(WaitingReason::Uncertain),
        Progress::Queued if !enrollment.dispatched => return Some(WaitingReason::Undispatched),
        Progress::Queued | Progress::Waiting => {}
    }
    if campaign.status == CampaignStatus::Paused {
        return Some(WaitingReason::Paused);
    }
    if enrollment.due_at.is_some_and(|due| due > campaign.now) {
        return enrollment.retrying.then_some(WaitingReason::Retry);
    }
    Some(held_up(campaign, enrollment))
}

/// What holds up a message that is due.
fn held_up(campaign: &CampaignFacts, enrollment: &EnrollmentFacts) -> WaitingReason {
    let mut open = campaign
        .lanes
        .iter()
        .filter(|(id, _)| enrollment.lane.is_none_or(|own| own == **id))
        .map(|(_, lane)| lane)
        .peekable();
    if open.peek().is_none() {
        return WaitingReason::NoCredential;
    }
    if campaign.plan_used_up {
        return WaitingReason::PlanLimit;
    }
    if enrollment.first_step {
        if open.all(|lane| lane.left_today <= 0) {
            return WaitingReason::DailyLimit;
        }
    } else if open.all(|lane| lane.mailbox_unread) {
        return WaitingReason::MailboxUnread;
    }
    WaitingReason::Pacing
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);
    const LANE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn campaign(own: impl Into<Option<LaneFacts>>, other: impl Into<Option<LaneFacts>>) -> CampaignFacts {
        let lanes = [(LANE, own.into()), (OTHER, other.into())];
        CampaignFacts {
            status: CampaignStatus::Active,
            lanes: lanes.into_iter().filter_map(|(id, lane)| Some((id, lane?))).collect(),
            plan_used_up: false,
            now: NOW,
        }
    }

    const OPEN: LaneFacts = LaneFacts { left_today: 1, mailbox_unread: false };
    const UNREAD: LaneFacts = LaneFacts { mailbox_unread: true, ..OPEN };
    const FULL: LaneFacts = LaneFacts { left_today: 0, mailbox_unread: false };

    const QUEUED: EnrollmentFacts = EnrollmentFacts {
        progress: Progress::Queued,
        dispatched: true,
        due_at: Some(NOW),
        retrying: false,
        first_step: true,
        lane: None,
    };

    #[test]
    fn what_has_nothing_to_wait_for_has_no_reason() {
        let campaign = campaign(OPEN, OPEN);
        for progress in [Progress::Finished, Progress::Claimed] {
            assert_eq!(waiting_reason(&campaign, &EnrollmentFacts { progress, ..QUEUED }), None);
        }
        let later = EnrollmentFacts { due_at: Some(Timestamp::from_seconds(1_001)), ..QUEUED };
        assert_eq!(waiting_reason(&campaign, &later), None);
    }

    #[test]
    fn each_reason_has_its_cause() {
        let open = campaign(OPEN, OPEN);
        let paused = CampaignFacts { status: CampaignStatus::Paused, ..open.clone() };
        let used_up = CampaignFacts { plan_used_up: true, ..open.clone() };
        let undispatched = EnrollmentFacts { dispatched: false, ..QUEUED };
        let uncertain = EnrollmentFacts { progress: Progress::Uncertain, ..QUEUED };
        let started =
            EnrollmentFacts { progress: Progress::Waiting, first_step: false, lane: Some(LANE), ..QUEUED };
        let retry =
            EnrollmentFacts { due_at: Some(Timestamp::from_seconds(1_001)), retrying: true, ..started };
        let cases = [
            (&open, undispatched, WaitingReason::Undispatched),
            (&paused, undispatched, WaitingReason::Undispatched),
            (&paused, QUEUED, WaitingReason::Paused),
            (&paused, uncertain, WaitingReason::Uncertain),
            (&open, retry, WaitingReason::Retry),
            (&used_up, QUEUED, WaitingReason::PlanLimit),
            (&campaign(FULL, FULL), QUEUED, WaitingReason::DailyLimit),
            (&campaign(FULL, None), QUEUED, WaitingReason::DailyLimit),
            (&campaign(FULL, OPEN), QUEUED, WaitingReason::Pacing),
            (&campaign(FULL, OPEN), started, WaitingReason::Pacing),
            (&campaign(UNREAD, OPEN), started, WaitingReason::MailboxUnread),
            (&campaign(UNREAD, UNREAD), QUEUED, WaitingReason::Pacing),
            (&campaign(None, None), QUEUED, WaitingReason::NoCredential),
            (&campaign(None, OPEN), started, WaitingReason::NoCredential),
        ];
        for (campaign, enrollment, reason) in cases {
            assert_eq!(waiting_reason(campaign, &enrollment), Some(reason), "{enrollment:?}");
        }
    }
}
