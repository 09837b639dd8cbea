//! What the metrics count of sending: outcomes, once a commit has stored them.

use super::{Ticket, Verdict, decide::Ask};
use crate::metrics;

/// Counts the outcomes that are stored now.
pub(super) fn recorded(asks: &[(Ticket, Ask)], told: &[Verdict]) {
    for ((_, ask), verdict) in asks.iter().zip(told) {
        if let (Ask::Record(outcome, _), Verdict::Recorded) = (ask, verdict) {
            metrics::sent(outcome.word());
        }
    }
}
