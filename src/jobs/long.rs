//! Jobs that may take an hour: what a client handed in decides how long. Of these only so many run at once, so that no
//! account holds up the others, and short jobs always find a slot.

/// The class of the jobs that read a table of contacts.
pub const READ_TABLE: &str = "ImportContacts";
/// The class of the jobs that enroll a large import.
pub const ENROLL_IMPORT: &str = "EnrollImport";

/// How many of them an account has running at once, whichever they are. Two processes that look at the same moment may each
/// take one more.
const OF_AN_ACCOUNT: u32 = 2;

/// Of so many slots, those that they may take.
pub(super) const fn share(slots: usize) -> usize {
    slots / 2
}

/// Whether a job of this class is one of them.
pub(super) fn is_long(class: &str) -> bool {
    [READ_TABLE, ENROLL_IMPORT].contains(&class)
}

/// A condition on a job in the queue: that it is a short one or, with a place for a long one, that its account has room.
/// `find` is how the database says where a text is in another.
pub(super) fn may_run(find: &str, place: bool) -> String {
    let classes = format!("('{READ_TABLE}', '{ENROLL_IMPORT}')");
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
