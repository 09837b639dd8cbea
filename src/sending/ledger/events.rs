//! What a commit tells the webhooks of its accounts: steps that were accepted, addresses that bounced,
//! and the rare one whose suppression only its mark found.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DbErr;
use uuid::Uuid;

use super::{decide::Change, facts::Facts};
use crate::{
    clock::Timestamp,
    models::{
        states::{DeliveryState, EventType},
        webhooks::outbox::{self, Happened},
    },
    tenancy::SystemScope,
};

/// What happened in one commit, by account.
#[derive(Debug, Default)]
pub(super) struct Events(BTreeMap<Uuid, Vec<Happened>>);

impl Events {
    /// Notes what one change is to others.
    pub(super) fn add(&mut self, facts: &Facts, change: &Change) {
        let event = match change.state {
            DeliveryState::Sent => EventType::EnrollmentSent,
            DeliveryState::Bounced if !facts.bounced_before => EventType::EnrollmentBounced,
            DeliveryState::Skipped if change.counts.unsubscribed => EventType::EnrollmentUnsubscribed,
            DeliveryState::Bounced
            | DeliveryState::Queued
            | DeliveryState::Claimed
            | DeliveryState::Sending
            | DeliveryState::Deferred
            | DeliveryState::Skipped
            | DeliveryState::Uncertain => return,
        };
        let position = Some(facts.position).filter(|_| event != EventType::EnrollmentUnsubscribed);
        let happened = Happened { event, enrollment_id: facts.enrollment_id, position };
        self.0.entry(facts.account_id).or_default().push(happened);
    }

    /// Writes them where anybody listens: one look for all accounts, and nothing more where nobody does. Answers
    /// whether anything was written.
    pub(super) async fn write(&self, system: &SystemScope, now: Timestamp) -> Result<bool, DbErr> {
        if self.0.is_empty() {
            return Ok(false);
        }
        let accounts: BTreeSet<Uuid> = self.0.keys().copied().collect();
        let mut written = 0;
        for account in outbox::listening(system, &accounts).await? {
            if let Some(happened) = self.0.get(&account) {
                written += outbox::enrollments(&system.account(account), happened, now).await?;
            }
        }
        Ok(written > 0)
    }
}
