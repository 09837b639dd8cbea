//! Writes what was decided: one statement per table for a whole commit, under the locks that `order` took.

use std::collections::BTreeMap;

use sea_orm::{DbErr, Value};
use uuid::Uuid;

use super::{decide::Change, facts::Facts, sql::Sql};
use crate::{clock::Timestamp, models::states::DeliveryState, tenancy::SystemScope};

/// Sums of one commit, per row that counts.
#[derive(Debug, Default)]
pub(super) struct Sums {
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
    pub(super) fn add(&mut self, facts: &Facts, change: &Change) {
        let counts = change.counts;
        let first = i64::from(facts.position == 1);
        let (released, accepted, bounced) =
            (i64::from(counts.released), i64::from(counts.accepted), i64::from(counts.bounced));
        if let Some(period) = facts.reserved_period {
            add(&mut self.periods, (facts.account_id, period.micros()), [-released, accepted]);
        }
        if let Some(day) = facts.reserved_day {
            // `sends` is what the bounce rate is over: accepted, or refused for good.
            let by = [-released * first, accepted * first, accepted + bounced, bounced];
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

    /// Writes the sums.
    pub(super) async fn write(&self, system: &SystemScope) -> Result<(), DbErr> {
        let periods = self.periods.iter().map(|((account, start), [reserved, sends])| {
            [(*account).into(), (*start).into(), (*reserved).into(), (*sends).into()]
        });
        run(
            system,
            change(
                "v_account, v_start, v_reserved, v_sends",
                periods,
                "UPDATE account_periods SET reserved = reserved + v_reserved, sends = sends + v_sends FROM v \
             WHERE account_id = v_account AND period_start = v_start",
            ),
        )
        .await?;
        let days =
            self.days.iter().map(|((credential, day), n)| row((*credential).into(), Some((*day).into()), n));
        run(system, change(
            "v_credential, v_day, v_reserved, v_first, v_sends, v_bounced",
            days,
            "UPDATE credential_days SET reserved = reserved + v_reserved, first_sends = first_sends + v_first, \
             sends = sends + v_sends, bounced = bounced + v_bounced FROM v \
             WHERE smtp_credential_id = v_credential AND day = v_day",
))
        .await?;
        let batches = self.batches.iter().map(|(batch, n)| row((*batch).into(), None, n));
        run(system, change(
            "v_batch, v_pending, v_sent, v_bounced, v_unsubscribed, v_back",
            batches,
            "UPDATE batches SET pending = pending + v_pending, sent = sent + v_sent, bounced = bounced + v_bounced, \
             unsubscribed = unsubscribed + v_unsubscribed, drained = CASE WHEN v_back > 0 THEN false ELSE drained END FROM v WHERE id = v_batch",
))
        .await?;
        let totals = self.totals.iter().map(|(campaign, n)| row((*campaign).into(), None, n));
        run(
            system,
            change(
                "v_campaign, v_pending, v_sent, v_bounced, v_unsubscribed, v_either, v_uncertain",
                totals,
                "UPDATE campaign_totals SET pending = pending + v_pending, sent = sent + v_sent, \
             bounced = bounced + v_bounced, unsubscribed = unsubscribed + v_unsubscribed, sent_or_bounced = sent_or_bounced + v_either, \
             uncertain = uncertain + v_uncertain FROM v WHERE campaign_id = v_campaign",
            ),
        )
        .await
    }
}

fn row<const N: usize>(key: Value, second: Option<Value>, numbers: &[i64; N]) -> Vec<Value> {
    std::iter::once(key).chain(second).chain(numbers.iter().map(|n| Value::from(*n))).collect()
}

/// The statement for these rows, if there are any.
fn change<R: IntoIterator<Item = Value>>(
    columns: &str,
    rows: impl Iterator<Item = R>,
    rest: &str,
) -> Option<Sql> {
    let mut rows = rows.peekable();
    rows.peek()?;
    Some(Sql::with_rows(columns, rows, rest))
}

async fn run(system: &SystemScope, sql: Option<Sql>) -> Result<(), DbErr> {
    match sql {
        Some(sql) => system.execute(&sql.text, sql.values).await.map(drop),
        None => Ok(()),
    }
}

/// Writes deliveries and enrollments.
pub(super) async fn write(system: &SystemScope, changes: &[Change]) -> Result<(), DbErr> {
    write_enrollments(system, changes).await?;
    let (marks, others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.state == DeliveryState::Sending);
    if !marks.is_empty() {
        let mut sql = Sql::new("UPDATE deliveries SET state = 'sending' WHERE state = 'claimed' AND id IN ");
        sql.list(marks.iter().map(|change| change.delivery_id.into()));
        let changed = system.execute(&sql.text, sql.values).await?;
        if changed != marks.len() as u64 {
            return Err(DbErr::Custom("a mark did not find its claimed delivery".into()));
        }
    }
    let rows = others.iter().map(|change| {
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
    run(system, change(
        "v_id, v_state, v_attempts, v_reply, v_provider, v_sent_at, v_held",
        rows,
        "UPDATE deliveries SET state = v_state, attempts = v_attempts, \
         smtp_reply = coalesce(v_reply, smtp_reply), provider_message_id = coalesce(v_provider, provider_message_id), \
         sent_at = coalesce(v_sent_at, sent_at), \
         token = CASE WHEN v_held = 1 THEN token END, process_id = CASE WHEN v_held = 1 THEN process_id END, \
         reserved_period = CASE WHEN v_held = 1 THEN reserved_period END, \
         reserved_day = CASE WHEN v_held = 1 THEN reserved_day END \
         FROM v WHERE id = v_id AND state IN ('claimed', 'sending', 'uncertain')",
))
    .await
}

async fn write_enrollments(system: &SystemScope, changes: &[Change]) -> Result<(), DbErr> {
    let rows = changes
        .iter()
        .filter_map(|change| change.enrollment.as_ref().map(|enrollment| (change.enrollment_id, enrollment)))
        .map(|(id, to)| {
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
                i32::from(to.leaves_lane).into(),
            ]
        });
    run(
        system,
        change(
            "v_id, v_progress, v_status, v_next, v_current, v_due, v_retrying, v_sent, v_bounced, v_reason, \
         v_unsubscribed, v_leaves",
            rows,
            "UPDATE enrollments SET progress = v_progress, status = v_status, next_position = v_next, \
         current_step = v_current, due_at = v_due, retrying = (v_retrying = 1), \
         sent_at = coalesce(sent_at, v_sent), bounced_at = coalesce(bounced_at, v_bounced), \
         bounce_reason = coalesce(bounce_reason, v_reason), \
         unsubscribed_at = coalesce(unsubscribed_at, v_unsubscribed), \
         smtp_credential_id = CASE WHEN v_leaves = 1 THEN NULL ELSE smtp_credential_id END \
         FROM v WHERE id = v_id AND progress IN ('claimed', 'uncertain')",
        ),
    )
    .await
}
