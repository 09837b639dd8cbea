//! Which of its subscriptions an account's plan follows: a pure decision on what Stripe last showed of all of them, so
//! that it does not matter in which order they were heard of, or how often.

use uuid::Uuid;

use crate::{clock::Timestamp, models::periods::Span};

/// What a status means for the plan. <https://docs.stripe.com/api/subscriptions/object#subscription_object-status>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It gives its plan: paid for, tried out, or being asked for again.
    Gives,
    /// It gives nothing: not paid for yet, given up, paused or ended.
    Nothing,
    /// A word that is not known here: it changes nothing.
    Unknown,
}

/// Weighs a status.
pub fn weight(status: &str) -> Weight {
    match status {
        // `past_due`: Stripe goes on asking for the money. When it gives up, it says `unpaid` or `canceled`.
        "active" | "trialing" | "past_due" => Weight::Gives,
        "incomplete" | "incomplete_expired" | "unpaid" | "canceled" | "paused" => Weight::Nothing,
        _ => Weight::Unknown,
    }
}

/// A subscription, as far as the choice depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Stripe's id.
    pub stripe_id: String,
    /// Its status.
    pub weight: Weight,
    /// The plan of its price, if it is the price of one.
    pub plan_id: Option<Uuid>,
    /// Its running period.
    pub span: Option<Span>,
    /// When it was made.
    pub subscribed_at: Timestamp,
}

/// What the account's plan follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This subscription, to this plan.
    Follow(Candidate, Uuid),
    /// The one that it follows, whose price is of no known plan: the plan stays.
    Keep(Candidate),
    /// None: what came from a subscription goes with it.
    Free,
    /// None, and the plan never came from one.
    Leave,
}

/// Chooses the newest of those that give a plan. `named` is the one that the plan follows now.
pub fn choose(candidates: &[Candidate], named: Option<&str>) -> Choice {
    let giving = candidates.iter().filter(|one| one.weight == Weight::Gives);
    let newest = giving
        .filter_map(|one| one.plan_id.map(|plan| (one, plan)))
        .max_by(|(a, _), (b, _)| (a.subscribed_at, &a.stripe_id).cmp(&(b.subscribed_at, &b.stripe_id)));
    if let Some((one, plan)) = newest {
        return Choice::Follow(one.clone(), plan);
    }
    let Some(named) = named else { return Choice::Leave };
    let current = candidates.iter().find(|one| one.stripe_id == named);
    match current.filter(|one| one.weight != Weight::Nothing) {
        Some(one) => Choice::Keep(one.clone()),
        None => Choice::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOBBY: Uuid = Uuid::from_u128(1);
    const PRO: Uuid = Uuid::from_u128(2);

    fn one(id: &str, status: &str, plan_id: Option<Uuid>, seconds: i64) -> Candidate {
        Candidate {
            stripe_id: id.to_owned(),
            weight: weight(status),
            plan_id,
            span: None,
            subscribed_at: Timestamp::from_seconds(seconds),
        }
    }

    #[test]
    fn every_status_of_stripe_is_weighed() {
        let gives = ["active", "trialing", "past_due"];
        let nothing = ["incomplete", "incomplete_expired", "unpaid", "canceled", "paused"];
        assert!(gives.iter().all(|status| weight(status) == Weight::Gives));
        assert!(nothing.iter().all(|status| weight(status) == Weight::Nothing));
        assert_eq!(weight("hibernating"), Weight::Unknown);
    }

    #[test]
    fn the_newest_that_gives_a_plan_is_followed_in_whatever_order_they_are() {
        let (old, new) = (one("a", "active", Some(PRO), 1), one("b", "trialing", Some(HOBBY), 2));
        let gone = one("c", "canceled", Some(PRO), 3);
        let other = one("d", "active", None, 4);
        for all in [[&old, &new, &gone, &other], [&other, &gone, &new, &old], [&new, &old, &other, &gone]] {
            let all: Vec<_> = all.into_iter().cloned().collect();
            for named in [None, Some("a"), Some("c"), Some("d")] {
                assert_eq!(choose(&all, named), Choice::Follow(new.clone(), HOBBY), "{named:?}");
            }
        }
        // Made in the same second.
        let twin = one("z", "active", Some(PRO), 2);
        assert_eq!(choose(&[new.clone(), twin.clone()], None), Choice::Follow(twin.clone(), PRO));
        assert_eq!(choose(&[twin.clone(), new], None), Choice::Follow(twin, PRO));
    }

    #[test]
    fn a_price_of_no_plan_changes_nothing_and_an_end_takes_the_plan_away() {
        let unknown = one("a", "active", None, 1);
        assert_eq!(choose(std::slice::from_ref(&unknown), None), Choice::Leave);
        assert_eq!(choose(std::slice::from_ref(&unknown), Some("a")), Choice::Keep(unknown.clone()));
        assert_eq!(choose(std::slice::from_ref(&unknown), Some("b")), Choice::Free);
        let new_word = one("a", "hibernating", Some(PRO), 1);
        assert_eq!(choose(std::slice::from_ref(&new_word), Some("a")), Choice::Keep(new_word.clone()));
        assert_eq!(choose(&[new_word], None), Choice::Leave);
        let ended = one("a", "unpaid", Some(PRO), 1);
        assert_eq!(choose(std::slice::from_ref(&ended), Some("a")), Choice::Free);
        assert_eq!(choose(&[ended], None), Choice::Leave);
        assert_eq!(choose(&[], Some("a")), Choice::Free);
    }
}
