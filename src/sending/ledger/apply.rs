//! Writes what was decided: one change per table for a whole commit, all of them together (`writes`), under the locks that
//! `order` took.

use std::{collections::BTreeMap, time::Duration};

use sea_orm::{DbErr, Value};
use uuid::Uuid;

use super::{
    decide::{Change, EnrollmentChange},
    facts::Facts,
    writes::Writes,
};
use crate::{
    clock::Timestamp,
    models::{deliveries::evidence::count_bounce, states::DeliveryState},
    tenancy::SystemScope,
};

macro_rules! enrollment_set {
    ($more:literal) => {
        concat!(
            "enrollments SET progress = v_progress, process_id = NULL, status = v_status, next_position = v_next, ",
            "current_step = v_current, due_at = v_due, retrying = (v_retrying = 1), ",
            "sent_at = coalesce(sent_at, v_sent), bounced_at = coalesce(bounced_at, v_bounced), ",
            "bounce_reason = coalesce(bounce_reason, v_reason), ",
            "unsubscribed_at = coalesce(unsubscribed_at, v_unsubscribed)",
            $more
        )
    };
}

/// What is written of an enrollment. The lane is named only where it changes: SQLite writes every index of a column that is
/// set, changed or not.
const KEEPS_LANE: &str = enrollment_set!("");
const LEAVES_LANE: &str = enrollment_set!(", smtp_credential_id = NULL");

/// Sums over changes, per row that counts.
#[derive(Debug, Default)]
struct Sums {
    /// (account, period): reserved, sends.
    periods: BTreeMap<(Uuid, i64), [i64; 2]>,
    /// (credential, day): reserved, first sends, sends, bounced.
    days: BTreeMap<(Uuid, i64), [i64; 4]>,
    /// batch: pending, sent, bounced, unsubscribed, back to the batch.
    batches: BTreeMap<Uuid, [i64; 5]>,
    /// campaign: pending, sent, bounced, unsubscribed, sent or bounced, uncertain.
    totals: BTreeMap<Uuid, [i64; 6]>,
}

fn add<K: Ord, const N: usize>(sums: &mut BTreeMap<K, [i64; N]>, key: K, by: [i64; N]) {
    if by.iter().any(|n| *n != 0) {
        let sum = sums.entry(key).or_insert([0; N]);
        for (total, n) in sum.iter_mut().zip(by) {
            *total += n;
        }
    }
}

impl Sums {
    /// Adds what one change counts.
    fn add(&mut self, facts: &Facts, change: &Change) {
        let counts = change.counts;
        let first = i64::from(facts.position == 1);
        let (released, accepted, bounced) =
            (i64::from(counts.released), i64::from(counts.accepted), i64::from(counts.bounced));
        if let Some(period) = facts.reserved_period {
            add(&mut self.periods, (facts.account_id, period.micros()), [-released, accepted]);
        }
        if let Some(day) = facts.reserved_day {
            // `sends` is what the bounce rate is over: accepted, or refused for good.
            let refused = bounced - i64::from(counts.bounced && counts.unsendable);
            let by = [-released * first, accepted * first, accepted + refused, refused];
            add(&mut self.days, (facts.credential_id, day), by);
        }
        let (unsubscribed, back) = (i64::from(counts.unsubscribed), i64::from(counts.back_to_batch));
        let (left, sent) = (-i64::from(counts.left_pending), i64::from(counts.first_sent));
        add(&mut self.batches, facts.batch_id, [left, sent, bounced, unsubscribed, back]);
        let either = i64::from(counts.first_sent_or_bounced);
        add(
            &mut self.totals,
            facts.campaign_id,
            [left, sent, bounced, unsubscribed, either, counts.uncertain],
        );
    }

    fn write(&self, writes: &mut Writes) {
        let periods =
            self.periods.iter().map(|((account, start), n)| row((*account).into(), Some((*start).into()), n));
        writes.add(
            "v_account, v_start, v_reserved, v_sends",
            periods,
            (
                "account_periods SET reserved = reserved + v_reserved, sends = sends + v_sends",
                "account_id = v_account AND period_start = v_start",
            ),
        );
        let days =
            self.days.iter().map(|((credential, day), n)| row((*credential).into(), Some((*day).into()), n));
        writes.add(
            "v_credential, v_day, v_reserved, v_first, v_sends, v_bounced",
            days,
            (
                "credential_days SET reserved = reserved + v_reserved, first_sends = first_sends + v_first, \
                 sends = sends + v_sends, bounced = bounced + v_bounced",
                "smtp_credential_id = v_credential AND day = v_day",
            ),
        );
        let batches = self.batches.iter().map(|(batch, n)| row((*batch).into(), None, n));
        writes.add(
            "v_batch, v_pending, v_sent, v_bounced, v_unsubscribed, v_back",
            batches,
            (
                "batches SET pending = pending + v_pending, sent = sent + v_sent, bounced = bounced + v_bounced, \
                 unsubscribed = unsubscribed + v_unsubscribed, \
                 drained = CASE WHEN v_back > 0 THEN false ELSE drained END",
                "id = v_batch",
            ),
        );
        let totals = self.totals.iter().map(|(campaign, n)| row((*campaign).into(), None, n));
        writes.add(
            "v_campaign, v_pending, v_sent, v_bounced, v_unsubscribed, v_either, v_uncertain",
            totals,
            (
                "campaign_totals SET pending = pending + v_pending, sent = sent + v_sent, \
                 bounced = bounced + v_bounced, unsubscribed = unsubscribed + v_unsubscribed, \
                 sent_or_bounced = sent_or_bounced + v_either, uncertain = uncertain + v_uncertain",
                "campaign_id = v_campaign",
            ),
        );
    }
}

fn row<const N: usize>(key: Value, second: Option<Value>, numbers: &[i64; N]) -> Vec<Value> {
    std::iter::once(key).chain(second).chain(numbers.iter().map(|n| Value::from(*n))).collect()
}

/// Writes what was decided of these deliveries, and what it counts.
pub(super) async fn write(
    system: &SystemScope,
    changes: &[(&Facts, Change)],
    now: Timestamp,
) -> Result<(), DbErr> {
    let mut sums = Sums::default();
    for (facts, change) in changes {
        sums.add(facts, change);
    }
    let mut writes = Writes::new(system.backend());
    write_pauses(&mut writes, changes, now);
    write_enrollments(&mut writes, changes);
    write_deliveries(&mut writes, changes);
    sums.write(&mut writes);
    let marks: Vec<Uuid> = changes
        .iter()
        .filter(|(_, change)| change.state == DeliveryState::Sending)
        .map(|(_, change)| change.delivery_id)
        .collect();
    if writes.run(system, &marks).await? != marks.len() {
        return Err(DbErr::Custom("a mark did not find its claimed delivery".into()));
    }
    for (facts, change) in changes.iter().filter(|(_, change)| change.came_back) {
        let scope = system.account(facts.account_id);
        count_bounce(&scope, change.delivery_id, facts.credential_id).await?;
    }
    Ok(())
}

/// What is marked may have gone out, whatever becomes of this process: whoever takes the lane next keeps the pause. The lane
/// itself writes the pause that it drew when it is left.
fn write_pauses(writes: &mut Writes, changes: &[(&Facts, Change)], now: Timestamp) {
    let pauses: BTreeMap<Uuid, i64> = changes
        .iter()
        .filter(|(facts, change)| change.state == DeliveryState::Sending && facts.min_wait_seconds > 0)
        .map(|(facts, _)| {
            let pause = Duration::from_secs(facts.min_wait_seconds.unsigned_abs().into());
            (facts.credential_id, now.plus(pause).micros())
        })
        .collect();
    writes.add(
        "v_credential, v_next",
        pauses.into_iter().map(|(credential, next)| [credential.into(), next.into()]),
        ("smtp_credentials SET next_send_at = v_next", "id = v_credential AND next_send_at < v_next"),
    );
}

fn write_deliveries(writes: &mut Writes, changes: &[(&Facts, Change)]) {
    let settled = changes.iter().filter(|(_, change)| change.state != DeliveryState::Sending);
    let rows = settled.map(|(_, change)| {
        [
            change.delivery_id.into(),
            change.state.as_str().into(),
            change.attempts.into(),
            change.reply.clone().into(),
            change.provider_id.clone().into(),
            change.sent_at.map(Timestamp::micros).into(),
            i32::from(change.held).into(),
        ]
    });
    writes.add(
        "v_id, v_state, v_attempts, v_reply, v_provider, v_sent_at, v_held",
        rows,
        (
            "deliveries SET state = v_state, attempts = v_attempts, \
             smtp_reply = coalesce(v_reply, smtp_reply), \
             provider_message_id = coalesce(v_provider, provider_message_id), \
             sent_at = coalesce(v_sent_at, sent_at), \
             heard = CASE WHEN v_held = 1 THEN heard END, \
             token = CASE WHEN v_held = 1 THEN token END, process_id = CASE WHEN v_held = 1 THEN process_id END, \
             reserved_period = CASE WHEN v_held = 1 THEN reserved_period END, \
             reserved_day = CASE WHEN v_held = 1 THEN reserved_day END",
            "id = v_id AND state IN ('claimed', 'sending', 'uncertain')",
        ),
    );
}

fn write_enrollments(writes: &mut Writes, changes: &[(&Facts, Change)]) {
    for (leaves, set) in [(false, KEEPS_LANE), (true, LEAVES_LANE)] {
        let rows = changes
            .iter()
            .filter_map(|(_, change)| change.enrollment.as_ref().map(|to| (change.enrollment_id, to)))
            .filter(|(_, to)| to.leaves_lane == leaves)
            .map(|(id, to)| enrollment_row(id, to));
        writes.add(
            "v_id, v_progress, v_status, v_next, v_current, v_due, v_retrying, v_sent, v_bounced, v_reason, \
             v_unsubscribed",
            rows,
            (set, "id = v_id AND progress IN ('claimed', 'uncertain')"),
        );
    }
}

fn enrollment_row(id: Uuid, to: &EnrollmentChange) -> [Value; 11] {
    [
        id.into(),
        to.progress.as_str().into(),
        to.status.as_str().into(),
        to.next_position.into(),
        to.current_step.into(),
        to.due_at.map(Timestamp::micros).into(),
        i32::from(to.retrying).into(),
        to.sent_at.map(Timestamp::micros).into(),
        to.bounced_at.map(Timestamp::micros).into(),
        to.bounce_reason.clone().into(),
        to.unsubscribed_at.map(Timestamp::micros).into(),
    ]
}
