//! How a period gives way to the next when a subscription begins, goes on or ends: a pure decision. Why it is so, is in
//! ADR 13. Periods of an account never overlap, and a send stays in the period that it was reserved in.

use std::time::Duration;

use crate::clock::Timestamp;

/// A subscription that ends so shortly before its period does, ends with it: clocks differ, and Stripe takes its time.
const AS_GOOD_AS_OVER: Duration = Duration::from_secs(3600);

/// From its first moment to the first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Span {
    /// Whether the moment is in it.
    pub fn holds(self, moment: Timestamp) -> bool {
        self.start <= moment && moment < self.end
    }
}

/// What becomes of the period that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Stay,
    /// It ends then, sooner or later than it was to.
    End(Timestamp),
    /// It ends at `at`, and another begins there.
    Split {
        /// The end of the one and the beginning of the other.
        at: Timestamp,
        /// The end of the other.
        end: Timestamp,
    },
}

impl Turn {
    /// The same, but that nothing reaches beyond `next`.
    #[must_use]
    pub fn before(self, next: Option<Timestamp>) -> Self {
        let cut = |end: Timestamp| next.map_or(end, |next| end.min(next));
        match self {
            Self::Stay => Self::Stay,
            Self::End(end) => Self::End(cut(end)),
            Self::Split { at, end } => Self::Split { at, end: cut(end) },
        }
    }
}

/// What becomes of the open period at `now`, when the subscription's own was `before` and is `after`.
pub fn turn(open: Option<Span>, before: Option<Span>, after: Option<Span>, now: Timestamp) -> Turn {
    let Some(open) = open else { return Turn::Stay };
    let end = match (before, after) {
        (None, None) => return Turn::Stay,
        // Stripe is late with the next one: until it is told, the open one is a guess of ours.
        (_, Some(after)) if after.end <= now => return Turn::Stay,
        (before, Some(after)) => {
            let at = after.start.min(now);
            let known = before.is_some_and(|before| before.start == after.start);
            if !known && open.start < at {
                return Turn::Split { at, end: after.end };
            }
            after.end
        }
        (Some(before), None) if open.end == before.end && before.end.since(now) < AS_GOOD_AS_OVER => {
            return Turn::Stay;
        }
        // What was sent stays counted until the month is over: ending a subscription fills nothing up.
        (Some(_), None) => now.next_month_start(),
    };
    if end == open.end { Turn::Stay } else { Turn::End(end) }
}

/// The period that holds `now` where none is open: the subscription's, else the calendar month (UTC); never over one that
/// ended (`earlier` is the end of the last) or one that is to begin.
pub fn natural(
    subscription: Option<Span>,
    earlier: Option<Timestamp>,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Span {
    let month = Span { start: now.month_start(), end: now.next_month_start() };
    let whole = match subscription {
        Some(span) if span.holds(now) => span,
        Some(span) if span.end <= now && span.start < span.end => following(span, now),
        Some(_) | None => month,
    };
    Span {
        start: earlier.map_or(whole.start, |earlier| whole.start.max(earlier)),
        end: next.map_or(whole.end, |next| whole.end.min(next)),
    }
}

/// The one of the same length, in the row of those after `span`, that holds `now`: what is assumed until Stripe says more.
fn following(span: Span, now: Timestamp) -> Span {
    let length = span.end.since(span.start);
    let passed = now.since(span.end).as_micros() / length.as_micros().max(1);
    let start = span.end.plus(length.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX)));
    Span { start, end: start.plus(length) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn span(start: &str, end: &str) -> Span {
        Span { start: at(start), end: at(end) }
    }

    #[test]
    fn a_subscription_begins_its_own_period_where_it_begins() {
        let month = span("2026-11-01", "2026-12-01");
        let paid = span("2026-11-15T10:00:00Z", "2026-12-15T10:00:00Z");
        let now = at("2026-11-15T10:00:05Z");
        assert_eq!(turn(Some(month), None, Some(paid), now), Turn::Split { at: paid.start, end: paid.end });
        // A clock that is behind Stripe's does not see a period that is yet to begin.
        let behind = at("2026-11-15T09:59:58Z");
        assert_eq!(turn(Some(month), None, Some(paid), behind), Turn::Split { at: behind, end: paid.end });
        let begun = Span { start: behind, end: paid.end };
        assert_eq!(turn(Some(begun), Some(paid), Some(paid), now), Turn::Stay);
    }

    #[test]
    fn news_that_comes_late_lengthens_what_began_meanwhile() {
        let paid = span("2026-10-20", "2026-11-20");
        let month = span("2026-11-01", "2026-12-01");
        assert_eq!(turn(Some(month), None, Some(paid), at("2026-11-02")), Turn::End(paid.end));
        let next = span("2026-11-20", "2026-12-20");
        let assumed = span("2026-11-20", "2026-12-21");
        assert_eq!(turn(Some(assumed), Some(paid), Some(next), at("2026-11-21")), Turn::End(next.end));
        assert_eq!(turn(Some(next), Some(paid), Some(paid), at("2026-11-21")), Turn::Stay);
        assert_eq!(turn(None, Some(paid), Some(next), at("2026-11-21")), Turn::Stay);
    }

    #[test]
    fn what_ends_early_keeps_its_count_until_the_month_is_over() {
        let paid = span("2026-11-15", "2026-12-15");
        assert_eq!(turn(Some(paid), Some(paid), None, at("2026-11-20")), Turn::End(at("2026-12-01")));
        assert_eq!(turn(Some(paid), Some(paid), None, at("2026-12-14T23:59:58Z")), Turn::Stay);
        let month = span("2026-12-15", "2027-01-01");
        assert_eq!(turn(Some(month), None, None, at("2026-12-20")), Turn::Stay);
    }

    #[test]
    fn where_nothing_is_open_the_month_is_cut_at_what_ended_in_it() {
        let paid = span("2026-11-15", "2026-12-15");
        let now = at("2026-12-20");
        let month = span("2026-12-15", "2027-01-01");
        assert_eq!(natural(None, Some(paid.end), None, now), month);
        assert_eq!(natural(None, None, None, now), span("2026-12-01", "2027-01-01"));
        assert_eq!(natural(Some(paid), None, None, at("2026-11-16")), paid);
        // Stripe says nothing yet of the next one.
        assert_eq!(natural(Some(paid), Some(paid.end), None, now), span("2026-12-15", "2027-01-14"));
    }

    const DAY: i64 = 86_400_000_000;

    fn spans() -> impl Strategy<Value = Option<Span>> {
        proptest::option::of((0..100_i64, 1..60_i64).prop_map(|(start, days)| Span {
            start: Timestamp::from_day(20_400 + start),
            end: Timestamp::from_day(20_400 + start + days),
        }))
    }

    proptest! {
        /// Whatever Stripe says in whatever order: periods follow each other without a gap in time that counts twice.
        #[test]
        fn periods_never_overlap(told in prop::collection::vec((spans(), 1..10 * DAY), 1..20)) {
            let mut rows: Vec<Span> = Vec::new();
            let (mut before, mut now) = (None, Timestamp::from_day(20_440));
            for (after, wait) in told {
                now = now.plus(Duration::from_micros(wait.unsigned_abs()));
                let open = rows.iter().position(|row| row.holds(now));
                match (turn(open.map(|nth| rows[nth]), before, after, now), open) {
                    (Turn::End(end), Some(nth)) => rows[nth].end = end,
                    (Turn::Split { at, end }, Some(nth)) => {
                        rows[nth].end = at;
                        rows.push(Span { start: at, end });
                    }
                    (Turn::Stay | Turn::End(_) | Turn::Split { .. }, _) => {}
                }
                before = after;
                if !rows.iter().any(|row| row.holds(now)) {
                    let earlier = rows.iter().map(|row| row.end).filter(|end| *end <= now).max();
                    rows.push(natural(before, earlier, None, now));
                }
                let here = rows.iter().filter(|row| row.holds(now)).count();
                prop_assert_eq!(here, 1);
                let mut sorted = rows.clone();
                sorted.sort_by_key(|row| row.start);
                for pair in sorted.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start, "{:?}", sorted);
                }
                prop_assert!(sorted.iter().all(|row| row.start < row.end), "{:?}", sorted);
            }
        }
    }
}
