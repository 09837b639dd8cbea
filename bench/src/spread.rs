//! The middle of what was measured more than once, and how far apart it was.

/// Least, middle and most of several figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median: of an even number, half way between the two in the middle.
    pub middle: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these; none of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied();
        let (half, last) = (values.len() / 2, values.len().checked_sub(1)?);
        Some(Self { least: at(0)?, middle: f64::midpoint(at(last / 2)?, at(half)?), most: at(last)? })
    }

    /// As benchmarks say it, with so many digits behind the point: `1.25 (1.11-1.31)`.
    pub fn told(&self, digits: usize) -> String {
        let Self { least, middle, most } = self;
        format!("{middle:.digits$} ({least:.digits$}-{most:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_half_way_between_two() {
        let seen =
            |values: &[f64]| Spread::of(values.iter().copied()).map(|it| (it.least, it.middle, it.most));
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(seen(&[3.0, 1.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(seen(&[9.0, 1.0, 2.0]), Some((1.0, 2.0, 9.0)));
        assert_eq!(Spread::of([3.0, 1.0]).unwrap().told(1), "2.0 (1.0-3.0)");
    }
}
