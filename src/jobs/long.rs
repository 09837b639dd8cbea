//! Jobs that may take an hour: what a client handed in decides how long. Of these only so many run at once, so that no
//! account holds up the others, and short jobs always find a slot. And each runs for a turn at a time, so that those which
//! wait come to a place however long the others take: by their work, or by a name server that never answers.

use std::time::Duration;

use tokio::time::Instant;

/// The class of the jobs that read a table of contacts.
pub const READ_TABLE: &str = "ImportContacts";
/// The class of the jobs that enroll a large import.
pub const ENROLL_IMPORT: &str = "EnrollImport";

/// How many of them an account has running at once, whichever they are. Two processes that look at the same moment may each
/// take one more.
const OF_AN_ACCOUNT: u32 = 2;

/// How long one of them keeps its place. Then it goes back into the queue, behind what waits, and goes on when it is taken
/// again.
pub(super) const TURN: Duration = Duration::from_secs(60);

tokio::task_local! {
    /// When the turn of the job that runs is over.
    static ENDS: Instant;
}

/// Why a worker stops half-way: it answers this (`loco_rs::Error::wrap`) once [`turn_is_over`], with all it did committed. No
/// attempt is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the turn is over")]
pub struct TurnOver;

/// Whether the job in which this is asked had its turn. Never so for work that no queue runs.
pub fn turn_is_over() -> bool {
    ENDS.try_with(|end| Instant::now() >= *end).unwrap_or(false)
}

/// Runs a job's work, which may ask for so long whether its turn is over.
pub(super) fn in_turn<F: Future>(work: F, turn: Duration) -> impl Future<Output = F::Output> {
    ENDS.scope(Instant::now() + turn, work)
}

/// Of so many slots, those that they may take.
pub(super) const fn share(slots: usize) -> usize {
    slots / 2
}

/// Their classes as a list in SQL.
pub fn long_classes() -> String {
    format!("('{READ_TABLE}', '{ENROLL_IMPORT}')")
}

/// Whether a job of this class is one of them.
pub(super) fn is_long(class: &str) -> bool {
    [READ_TABLE, ENROLL_IMPORT].contains(&class)
}

/// A condition on a job in the queue: that it is a short one or, with a place for a long one, that its account has room.
/// `find` is how the database says where a text is in another.
pub(super) fn may_run(find: &str, place: bool) -> String {
    let classes = long_classes();
    if !place {
        return format!("name NOT IN {classes}");
    }
    // Their arguments are ours and name the account; those that do not are at worst told apart by something else. Parsed
    // as JSON, arguments that cannot be read would keep every job from being taken.
    let account = format!("substr(args, {find}(args, '\"account_id\":\"') + 14, 36)");
    format!(
        "(name NOT IN {classes} OR {account} NOT IN (SELECT {account} FROM jobs WHERE status = 'processing' \
         AND locked_until > 0 AND name IN {classes} GROUP BY 1 HAVING count(*) >= {OF_AN_ACCOUNT}))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_half_of_the_slots_are_left_to_short_jobs() {
        assert_eq!([8, 7, 2, 1].map(share), [4, 3, 1, 0]);
    }
}
