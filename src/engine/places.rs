//! How the sender's places are shared: lanes whose server failed them the last time may keep a place for minutes, each time
//! anew, and get a part of the places only; an account's get half of that part.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::sending::lanes::Room;

/// What part of the places may be kept by lanes whose server failed them the last time.
const PART: usize = 4;

/// The room that is left where so many lanes are at work, some of them failing: these are named by their accounts.
pub(super) fn room(most: usize, at_work: usize, failing: impl IntoIterator<Item = Uuid>) -> Room {
    let most_failing = (most / PART).max(1);
    let most_of_one = (most_failing / 2).max(1);
    let mut accounts = BTreeMap::<Uuid, usize>::new();
    for account in failing {
        *accounts.entry(account).or_default() += 1;
    }
    let all_failing: usize = accounts.values().sum();
    let fullest = accounts.values().filter(|count| **count < most_of_one).max().copied().unwrap_or_default();
    let crowded = accounts.into_iter().filter(|(_, count)| *count >= most_of_one).map(|(account, _)| account);
    Room {
        all: most.saturating_sub(at_work),
        // All that are taken now may be of one account.
        failing: most_failing.saturating_sub(all_failing).min(most_of_one - fullest),
        crowded: crowded.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn failing(of_one: usize, of_other: usize) -> impl Iterator<Item = Uuid> {
        std::iter::repeat_n(ONE, of_one).chain(std::iter::repeat_n(OTHER, of_other))
    }

    #[test]
    fn lanes_that_fail_get_a_quarter_of_the_places_and_an_accounts_get_half_of_it() {
        for (at_work, of_one, of_other, all, left, crowded) in [
            (0, 0, 0, 64, 8, vec![]),
            (20, 0, 0, 44, 8, vec![]),
            (5, 5, 0, 59, 3, vec![]),
            (8, 8, 0, 56, 8, vec![ONE]),
            (13, 8, 5, 51, 3, vec![ONE]),
            (16, 8, 8, 48, 0, vec![ONE, OTHER]),
            (64, 7, 7, 0, 1, vec![]),
        ] {
            let expected = Room { all, failing: left, crowded };
            assert_eq!(
                room(64, at_work, failing(of_one, of_other)),
                expected,
                "{at_work} {of_one} {of_other}"
            );
        }
    }

    #[test]
    fn however_few_places_there_are_one_may_be_kept_by_a_lane_that_fails() {
        for most in 1..=7 {
            assert_eq!(room(most, 0, []).failing, 1, "{most}");
            assert_eq!(room(most, 1, [ONE]).failing, 0, "{most}");
        }
    }
}
