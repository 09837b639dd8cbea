//! Changes of the counters that pages show, gathered first and written once per row.
//!
//! Batches come before totals, several rows of one table by id; their campaign is locked before (see docs/ARCHITECTURE.md).

use std::collections::BTreeMap;

use sea_orm::Value;
use uuid::Uuid;

use crate::{errors::ApiResult, models::states::EnrollmentStatus, tenancy::Scope};

/// By how much the counters of one batch or one campaign change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Enrollments that wait for a dispatch; counted by batches only.
    pub undispatched: i64,
    /// Enrollments to which nothing was accepted yet.
    pub pending: i64,
    /// With at least one accepted step.
    pub sent: i64,
    /// Opened at least once.
    pub opened: i64,
    /// Answered at least once.
    pub replied: i64,
    /// Bounced.
    pub bounced: i64,
    /// Unsubscribed.
    pub unsubscribed: i64,
    /// Sent or bounced, each enrollment once; counted by campaigns only.
    pub sent_or_bounced: i64,
    /// Deliveries whose outcome nobody knows; counted by campaigns only.
    pub uncertain: i64,
}

impl Delta {
    /// One enrollment that reaches `status` for the first time.
    pub const fn reached(status: EnrollmentStatus) -> Self {
        let mut delta = Self::NONE;
        match status {
            EnrollmentStatus::Pending => delta.pending = 1,
            EnrollmentStatus::Sent => delta.sent = 1,
            EnrollmentStatus::Opened => delta.opened = 1,
            EnrollmentStatus::Replied => delta.replied = 1,
            EnrollmentStatus::Bounced => delta.bounced = 1,
            EnrollmentStatus::Unsubscribed => delta.unsubscribed = 1,
        }
        delta
    }

    /// No change.
    pub const NONE: Self = Self {
        undispatched: 0,
        pending: 0,
        sent: 0,
        opened: 0,
        replied: 0,
        bounced: 0,
        unsubscribed: 0,
        sent_or_bounced: 0,
        uncertain: 0,
    };

    /// Adds another change.
    pub const fn add(&mut self, other: Self) {
        self.undispatched += other.undispatched;
        self.pending += other.pending;
        self.sent += other.sent;
        self.opened += other.opened;
        self.replied += other.replied;
        self.bounced += other.bounced;
        self.unsubscribed += other.unsubscribed;
        self.sent_or_bounced += other.sent_or_bounced;
        self.uncertain += other.uncertain;
    }

    const fn shared(self) -> [i64; 6] {
        [self.pending, self.sent, self.opened, self.replied, self.bounced, self.unsubscribed]
    }
}

/// The changes of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    batches: BTreeMap<Uuid, Delta>,
    campaigns: BTreeMap<Uuid, Delta>,
}

impl Tally {
    /// Adds what happened to an enrollment of this batch and campaign.
    pub fn add(&mut self, batch: Uuid, campaign: Uuid, delta: Delta) {
        self.batches.entry(batch).or_default().add(delta);
        self.campaigns.entry(campaign).or_default().add(delta);
    }

    /// Writes the changes, one statement for each row that changes.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn write(self, scope: &Scope) -> ApiResult<()> {
        for (batch, delta) in self.batches {
            if delta != Delta::NONE {
                write_batch(scope, batch, delta).await?;
            }
        }
        for (campaign, delta) in self.campaigns {
            if delta != Delta::NONE {
                write_totals(scope, campaign, delta).await?;
            }
        }
        Ok(())
    }
}

/// By `uq_batches_account`.
async fn write_batch(scope: &Scope, batch: Uuid, delta: Delta) -> ApiResult<()> {
    let values = std::iter::once(Value::from(batch))
        .chain(delta.shared().map(Value::from))
        .chain([Value::from(delta.undispatched)]);
    scope
        .execute(
            "UPDATE batches SET pending = pending + $3, sent = sent + $4, opened = opened + $5, \
             replied = replied + $6, bounced = bounced + $7, unsubscribed = unsubscribed + $8, \
             undispatched = undispatched + $9 WHERE account_id = $1 AND id = $2",
            values,
        )
        .await?;
    Ok(())
}

/// By the primary key.
async fn write_totals(scope: &Scope, campaign: Uuid, delta: Delta) -> ApiResult<()> {
    let values = std::iter::once(Value::from(campaign))
        .chain(delta.shared().map(Value::from))
        .chain([Value::from(delta.sent_or_bounced), Value::from(delta.uncertain)]);
    scope
        .execute(
            "UPDATE campaign_totals SET pending = pending + $3, sent = sent + $4, opened = opened + $5, \
             replied = replied + $6, bounced = bounced + $7, unsubscribed = unsubscribed + $8, \
             sent_or_bounced = sent_or_bounced + $9, uncertain = uncertain + $10 \
             WHERE account_id = $1 AND campaign_id = $2",
            values,
        )
        .await?;
    Ok(())
}
