//! What a commit tells the webhooks of its accounts: steps that were accepted, addresses that bounced,
//! and the rare one whose suppression only its mark found.

use std::collections::BTreeMap;

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
    /// Notes what one change is to others, where anybody listens.
    pub(super) fn add(&mut self, facts: &Facts, change: &Change) {
        if !facts.listened {
            return;
        }
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

    /// Writes them. Answers whether anything was written.
    pub(super) async fn write(&self, system: &SystemScope, now: Timestamp) -> Result<bool, DbErr> {
        let mut written = 0;
        for (account, happened) in &self.0 {
            written += outbox::enrollments(&system.account(*account), happened, now).await?;
        }
        Ok(written > 0)
    }
}
