//! What becomes of a delivery (pure): the facts and what a lane asks, turned into changes of rows and counters.

use uuid::Uuid;

use super::facts::Facts;
use crate::{
    clock::Timestamp,
    models::{
        deliveries::evidence::Heard,
        states::{CampaignStatus, DeliveryState, EnrollmentStatus, Progress},
        suppressions::AddressHash,
    },
    sending::retry,
};

/// How an attempt ended, as the transport saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took it.
    Accepted {
        /// Its words.
        reply: String,
        /// The id that it gave the message.
        provider_id: Option<String>,
    },
    /// Not now: the recipient's or the message's temporary trouble.
    Deferred {
        /// Its words.
        reply: String,
    },
    /// Never: the recipient's or the message's lasting trouble.
    Bounced {
        /// Its words.
        reason: String,
    },
    /// No server was asked: it cannot be rendered, composed or addressed, now or later.
    Unsendable {
        /// Why.
        reason: String,
    },
    /// The final dot may have been written, and no reply tells.
    Uncertain,
    /// Known never to have been sent: as if it had not been claimed.
    GivenBack,
}

impl Outcome {
    /// How it is counted.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Deferred { .. } => "deferred",
            Self::Bounced { .. } | Self::Unsendable { .. } => "bounced",
            Self::Uncertain => "uncertain",
            Self::GivenBack => "given_back",
        }
    }
}

/// What is asked of the ledger for one delivery.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    /// May its content be handed over to the address of this hash?
    Mark(AddressHash),
    /// This is how it ended; `chance` spreads the next try.
    Record(Outcome, f64),
    /// Whoever held it is gone.
    Void,
}

impl Ask {
    /// Where a mark would let the content go.
    pub(super) const fn address(&self) -> Option<AddressHash> {
        match self {
            Self::Mark(address) => Some(*address),
            Self::Record(..) | Self::Void => None,
        }
    }
}

/// What the asker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The mark is stored: send.
    Marked,
    /// Stopped before its mark: the campaign is paused, or the credential is closed. Nothing is lost.
    GivenBack,
    /// Stopped for good before its mark.
    Skipped,
    /// The outcome is stored.
    Recorded,
    /// The row is no longer held with this token; nothing was changed.
    LostLease,
}

/// The row as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub delivery_id: Uuid,
    pub enrollment_id: Uuid,
    pub state: DeliveryState,
    pub attempts: i32,
    pub reply: Option<String>,
    pub provider_id: Option<String>,
    pub sent_at: Option<Timestamp>,
    /// Whether token, holder and reservation stay on the row.
    pub held: bool,
    /// It was sent and came back: it bounced behind its outcome.
    pub came_back: bool,
    /// `None`: the enrollment stays as it is.
    pub enrollment: Option<EnrollmentChange>,
    pub counts: Counts,
}

/// The enrollment as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnrollmentChange {
    pub progress: Progress,
    pub status: EnrollmentStatus,
    pub next_position: i32,
    pub current_step: i32,
    pub due_at: Option<Timestamp>,
    pub retrying: bool,
    pub sent_at: Option<Timestamp>,
    pub bounced_at: Option<Timestamp>,
    pub bounce_reason: Option<String>,
    pub unsubscribed_at: Option<Timestamp>,
    /// Gives up the lane: it goes back to its batch.
    pub leaves_lane: bool,
}

/// What counters change by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// The reservation ends …
    pub released: bool,
    /// … as a send.
    pub accepted: bool,
    pub bounced: bool,
    /// It bounced by ourselves: its sender is not to blame.
    pub unsendable: bool,
    pub unsubscribed: bool,
    pub left_pending: bool,
    pub first_sent: bool,
    pub first_sent_or_bounced: bool,
    pub uncertain: i64,
    pub back_to_batch: bool,
}

/// Decides one ask.
pub(super) fn decide(
    facts: &Facts,
    token: Option<Uuid>,
    ask: &Ask,
    now: Timestamp,
) -> (Verdict, Option<Change>) {
    use DeliveryState::{Bounced, Claimed, Deferred, Queued, Sending, Sent, Skipped, Uncertain};
    if token.is_some() && facts.token != token {
        return (Verdict::LostLease, None);
    }
    match (ask, facts.state) {
        (Ask::Mark(_), Claimed) => decide_mark(facts, now),
        (Ask::Void, Claimed) => (Verdict::Recorded, Some(give_back(facts, now))),
        (Ask::Void, Sending) => (Verdict::Recorded, Some(unknown(facts, now))),
        (Ask::Record(outcome, chance), Claimed | Sending | Uncertain) => {
            (Verdict::Recorded, record(facts, outcome, *chance, now))
        }
        (Ask::Mark(_), Queued | Sending | Deferred | Sent | Bounced | Skipped | Uncertain)
        | (Ask::Void | Ask::Record(..), Queued | Deferred | Sent | Bounced | Skipped)
        | (Ask::Void, Uncertain) => (Verdict::LostLease, None),
    }
}

/// The gate, looked at again in the transaction of the mark.
fn decide_mark(facts: &Facts, now: Timestamp) -> (Verdict, Option<Change>) {
    if facts.gone || facts.status.stops() {
        return (Verdict::Skipped, Some(skip(facts)));
    }
    if facts.suppressed {
        return (Verdict::Skipped, Some(unsubscribe(facts, now)));
    }
    if facts.campaign_status != CampaignStatus::Active || facts.lane_closed {
        return (Verdict::GivenBack, Some(give_back(facts, now)));
    }
    // Whoever may have answered an earlier step is not written to again before the answer could be seen.
    if facts.position > 1 && facts.mailbox_unread {
        return (Verdict::GivenBack, Some(give_back(facts, now)));
    }
    // Claimed before midnight (UTC): it has its place in a day that is over, and none in this one.
    if facts.position == 1 && facts.reserved_day.is_some_and(|day| day < now.day()) {
        return (Verdict::GivenBack, Some(give_back(facts, now)));
    }
    let marked = Change { state: DeliveryState::Sending, held: true, ..unchanged(facts) };
    (Verdict::Marked, Some(marked))
}

fn record(facts: &Facts, outcome: &Outcome, chance: f64, now: Timestamp) -> Option<Change> {
    match outcome {
        Outcome::Accepted { reply, provider_id } => Some(Change {
            attempts: facts.attempts + 1,
            reply: Some(reply.clone()),
            provider_id: provider_id.clone(),
            ..accept(facts, now)
        }),
        Outcome::Deferred { reply } => Some(defer(facts, reply, chance, now)),
        Outcome::Bounced { reason } => Some(bounce(facts, reason, now)),
        Outcome::Unsendable { reason } => Some(unsendable(facts, reason, now)),
        Outcome::Uncertain if facts.state == DeliveryState::Uncertain => None,
        Outcome::Uncertain => Some(unknown(facts, now)),
        Outcome::GivenBack => Some(give_back(facts, now)),
    }
}

/// Everything as it is.
fn unchanged(facts: &Facts) -> Change {
    Change {
        delivery_id: facts.delivery_id,
        enrollment_id: facts.enrollment_id,
        state: facts.state,
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

const fn standing(facts: &Facts, progress: Progress) -> EnrollmentChange {
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

fn settles(facts: &Facts) -> i64 {
    if facts.state == DeliveryState::Uncertain { -1 } else { 0 }
}

fn released(facts: &Facts) -> Counts {
    Counts { released: true, uncertain: settles(facts), ..Counts::default() }
}

fn accept(facts: &Facts, now: Timestamp) -> Change {
    let status = facts.status.raised_to(EnrollmentStatus::Sent);
    let next = facts.next_delay.filter(|_| !status.stops() && !facts.gone);
    let wait = |minutes: i32| std::time::Duration::from_secs(u64::try_from(minutes).unwrap_or(0) * 60);
    let progress = if next.is_some() { Progress::Waiting } else { Progress::Finished };
    Change {
        state: DeliveryState::Sent,
        sent_at: Some(now),
        came_back: facts.heard == Some(Heard::Failed),
        enrollment: Some(EnrollmentChange {
            status,
            next_position: facts.position + i32::from(next.is_some()),
            current_step: facts.position,
            due_at: next.map(|minutes| now.plus(wait(minutes))),
            sent_at: Some(now),
            ..standing(facts, progress)
        }),
        counts: Counts {
            accepted: true,
            left_pending: facts.status == EnrollmentStatus::Pending,
            first_sent: !facts.sent_before,
            first_sent_or_bounced: !facts.sent_before && !facts.bounced_before,
            ..released(facts)
        },
        ..unchanged(facts)
    }
}

fn defer(facts: &Facts, reply: &str, chance: f64, now: Timestamp) -> Change {
    let attempts = facts.attempts + 1;
    let Some(wait) = retry::after_refusal(attempts, chance) else { return bounce(facts, reply, now) };
    if facts.gone || facts.status.stops() {
        return skip(facts);
    }
    Change {
        state: DeliveryState::Deferred,
        attempts,
        reply: Some(reply.to_owned()),
        enrollment: Some(EnrollmentChange {
            due_at: Some(now.plus(wait)),
            retrying: true,
            ..standing(facts, Progress::Waiting)
        }),
        counts: released(facts),
        ..unchanged(facts)
    }
}

fn bounce(facts: &Facts, reason: &str, now: Timestamp) -> Change {
    Change {
        state: DeliveryState::Bounced,
        attempts: facts.attempts + 1,
        reply: Some(reason.to_owned()),
        enrollment: Some(EnrollmentChange {
            status: facts.status.raised_to(EnrollmentStatus::Bounced),
            bounced_at: Some(now),
            bounce_reason: Some(reason.to_owned()),
            ..standing(facts, Progress::Finished)
        }),
        counts: Counts {
            bounced: !facts.bounced_before,
            left_pending: facts.status == EnrollmentStatus::Pending,
            first_sent_or_bounced: !facts.sent_before && !facts.bounced_before,
            ..released(facts)
        },
        ..unchanged(facts)
    }
}

fn unsendable(facts: &Facts, reason: &str, now: Timestamp) -> Change {
    let bounced = bounce(facts, reason, now);
    Change { counts: Counts { unsendable: true, ..bounced.counts }, ..bounced }
}

fn skip(facts: &Facts) -> Change {
    Change {
        state: DeliveryState::Skipped,
        enrollment: Some(standing(facts, Progress::Finished)),
        // Deleting a contact leaves the count of what a lane holds to the lane.
        counts: Counts {
            left_pending: facts.contact_deleted && facts.status == EnrollmentStatus::Pending,
            ..released(facts)
        },
        ..unchanged(facts)
    }
}

/// The address is suppressed, and its contact does not say so: another contact had it when the link was followed, or who
/// was to note it was cut off. What an unsubscription does to an enrollment is done here.
fn unsubscribe(facts: &Facts, now: Timestamp) -> Change {
    Change {
        state: DeliveryState::Skipped,
        enrollment: Some(EnrollmentChange {
            status: facts.status.raised_to(EnrollmentStatus::Unsubscribed),
            unsubscribed_at: Some(now),
            ..standing(facts, Progress::Finished)
        }),
        counts: Counts {
            unsubscribed: !facts.unsubscribed_before,
            left_pending: facts.status == EnrollmentStatus::Pending,
            ..released(facts)
        },
        ..unchanged(facts)
    }
}

/// No outcome came, and none will. What came back meanwhile says that the server took it, as it would from now on.
fn unknown(facts: &Facts, now: Timestamp) -> Change {
    if facts.heard.is_some() {
        return accept(facts, now);
    }
    Change {
        state: DeliveryState::Uncertain,
        held: true,
        enrollment: Some(standing(facts, Progress::Uncertain)),
        counts: Counts { uncertain: 1, ..Counts::default() },
        ..unchanged(facts)
    }
}

/// Back to where it was claimed from: its batch, if nothing of the enrollment was ever tried, else its lane.
fn give_back(facts: &Facts, now: Timestamp) -> Change {
    if facts.gone || facts.status.stops() {
        return skip(facts);
    }
    let untouched = facts.position == 1 && facts.attempts == 0 && !facts.sent_before;
    let enrollment = if untouched {
        EnrollmentChange { leaves_lane: true, ..standing(facts, Progress::Queued) }
    } else {
        EnrollmentChange {
            due_at: Some(now),
            retrying: facts.attempts > 0,
            ..standing(facts, Progress::Waiting)
        }
    };
    Change {
        state: if facts.attempts > 0 { DeliveryState::Deferred } else { DeliveryState::Queued },
        enrollment: Some(enrollment),
        counts: Counts { back_to_batch: untouched, ..released(facts) },
        ..unchanged(facts)
    }
}
