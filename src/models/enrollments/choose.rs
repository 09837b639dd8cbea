//! Who of an import is enrolled, who is skipped and why, and into which batches: decisions without a database.

use std::collections::HashSet;

use uuid::Uuid;

use crate::models::states::SkipKind;

/// A contact of the import, as enrolling looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The contact.
    pub id: Uuid,
    /// Where it is written to.
    pub email: String,
    /// Whether it wants no mail.
    pub unsubscribed: bool,
    /// Whether the campaign has it already.
    pub enrolled: bool,
    /// Whether a sibling in an outreach with unique contacts has it.
    pub in_sibling: bool,
}

/// A contact that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The contact.
    pub contact_id: Uuid,
    /// Its address.
    pub email: String,
    /// Why.
    pub kind: SkipKind,
}

/// Domains that are proved to take no mail, in lower case.
pub type DeadDomains = HashSet<String>;

/// What follows the last `@`, in lower case.
pub fn domain_of(email: &str) -> String {
    email.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase()
}

impl Candidate {
    /// Why bulk enrolling leaves this contact out, if it does and says so.
    pub fn skip(&self, dead: &DeadDomains) -> Option<SkipKind> {
        if self.in_sibling {
            return Some(SkipKind::CrossCampaignDuplicate);
        }
        (!dead.is_empty() && dead.contains(&domain_of(&self.email))).then_some(SkipKind::MxInvalid)
    }
}

/// Sorts candidates into those to enroll and those to skip; who unsubscribed or is enrolled already is neither.
pub fn sort_out(candidates: Vec<Candidate>, dead: &DeadDomains) -> (Vec<Uuid>, Vec<Skipped>) {
    let (mut chosen, mut skipped) = (Vec::with_capacity(candidates.len()), Vec::new());
    for candidate in candidates.into_iter().filter(|found| !found.unsubscribed && !found.enrolled) {
        match candidate.skip(dead) {
            Some(kind) => skipped.push(Skipped { contact_id: candidate.id, email: candidate.email, kind }),
            None => chosen.push(candidate.id),
        }
    }
    (chosen, skipped)
}

/// A part of a batch: its number and how many enrollments it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The batch.
    pub number: i32,
    /// How many.
    pub count: usize,
    /// Whether the batch begins here, rather than being filled up.
    pub begins: bool,
}

/// The batch that an earlier chunk left half full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfFull {
    /// Its number.
    pub number: i32,
    /// How many more it takes.
    pub room: usize,
}

/// Cuts `count` enrollments into batches of `size`: the half-full one first, then new ones above `highest`.
pub fn share_out(count: usize, size: usize, half_full: Option<HalfFull>, highest: i32) -> Vec<Share> {
    let (mut left, mut shares, mut number) = (count, Vec::new(), highest);
    if let Some(HalfFull { number, room }) = half_full {
        let count = room.min(left);
        if count > 0 {
            shares.push(Share { number, count, begins: false });
            left -= count;
        }
    }
    while left > 0 {
        let count = size.max(1).min(left);
        number = number.saturating_add(1);
        shares.push(Share { number, count, begins: true });
        left -= count;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(email: &str) -> Candidate {
        Candidate {
            id: Uuid::nil(),
            email: email.into(),
            unsubscribed: false,
            enrolled: false,
            in_sibling: false,
        }
    }

    #[test]
    fn who_is_enrolled_or_unsubscribed_is_not_even_skipped() {
        let candidates = vec![
            Candidate { unsubscribed: true, in_sibling: true, ..candidate("a@x.example") },
            Candidate { enrolled: true, in_sibling: true, ..candidate("b@x.example") },
            Candidate { in_sibling: true, ..candidate("c@DEAD.example") },
            candidate("d@DEAD.example"),
            candidate("e@x.example"),
        ];
        let dead = DeadDomains::from(["dead.example".to_owned()]);
        let (chosen, skipped) = sort_out(candidates, &dead);
        let kinds: Vec<SkipKind> = skipped.iter().map(|skip| skip.kind).collect();
        assert_eq!((chosen.len(), kinds), (1, vec![SkipKind::CrossCampaignDuplicate, SkipKind::MxInvalid]));
    }

    #[test]
    fn a_half_full_batch_is_filled_before_new_ones_begin_above_the_highest() {
        let half = Some(HalfFull { number: 2, room: 3 });
        let share = |number, count, begins| Share { number, count, begins };
        assert_eq!(share_out(8, 4, half, 5), [share(2, 3, false), share(6, 4, true), share(7, 1, true)]);
        assert_eq!(share_out(2, 4, half, 5), [share(2, 2, false)]);
        assert_eq!(share_out(4, 4, None, 0), [share(1, 4, true)]);
        assert_eq!(share_out(0, 4, None, 0), []);
    }
}
