//! What lanes ask of the ledger, and how they are told.

use sea_orm::DbErr;
use tokio::sync::oneshot;

use super::{Claimed, LedgerError, Ticket, Verdict, Want, count, decide::Ask};

/// What one lane asks at a time, and where it waits for the answer.
pub(super) enum Entry {
    Claim(Want, oneshot::Sender<Result<Vec<Claimed>, LedgerError>>),
    Change(Vec<(Ticket, Ask)>, oneshot::Sender<Result<Vec<Verdict>, LedgerError>>),
}

/// The answers to the entries of one commit, in their order.
pub(super) struct Answers {
    /// For each delivery that a change was asked for.
    pub verdicts: Vec<Verdict>,
    /// For each claim.
    pub claims: Vec<Vec<Claimed>>,
    /// Whether webhooks are told of something.
    pub told: bool,
}

/// Tells whoever asked.
pub(super) fn answer(entries: Vec<Entry>, outcome: Result<Answers, DbErr>) {
    let failure = outcome.as_ref().err().map(LedgerError::from);
    let (mut verdicts, mut claims) = match outcome {
        Ok(answers) => (answers.verdicts.into_iter(), answers.claims.into_iter()),
        Err(error) => {
            tracing::warn!(%error, entries = entries.len(), "ledger commit failed");
            (Vec::new().into_iter(), Vec::new().into_iter())
        }
    };
    let or_failed =
        |failure: &Option<LedgerError>| failure.clone().unwrap_or_else(|| LedgerError::lasting("lost"));
    for entry in entries {
        // An asker that is gone has stopped with its lane; its rows are voided with it.
        let unheard = match entry {
            Entry::Claim(_, asker) => asker.send(claims.next().ok_or_else(|| or_failed(&failure))).is_err(),
            Entry::Change(asks, asker) => {
                let told: Vec<Verdict> = verdicts.by_ref().take(asks.len()).collect();
                if failure.is_none() {
                    count::recorded(&asks, &told);
                }
                let told = if failure.is_some() { Err(or_failed(&failure)) } else { Ok(told) };
                asker.send(told).is_err()
            }
        };
        if unheard {
            tracing::debug!("nobody waits for an answer of the ledger any more");
        }
    }
}
