//! What benchmarks said, and how a table shows it. They say `name=value` pairs, in lines that may begin with `group:`; a
//! range in parentheses behind a pair is the spread of what was measured more than once.

use std::collections::BTreeMap;

use crate::spread::Spread;

/// All that several runs of one benchmark said, by name (`group.name`).
#[derive(Debug, Default)]
pub struct Said(BTreeMap<String, Figure>);

/// One figure of several runs.
#[derive(Debug, Default)]
struct Figure {
    /// As each run said it.
    values: Vec<f64>,
    /// How far apart it was within the runs.
    ends: Vec<f64>,
}

impl Said {
    /// Takes in what one run said.
    pub fn hear(&mut self, output: &str) {
        for line in output.lines() {
            let (group, pairs) = match line.split_once(": ") {
                Some((group, pairs)) if !group.contains(' ') => (format!("{group}."), pairs),
                _ => (String::new(), line),
            };
            let mut last = None;
            for word in pairs.split_whitespace() {
                if let Some((name, value)) = word.split_once('=') {
                    last = Some(format!("{group}{name}"));
                    self.add(last.as_ref(), value, |figure| &mut figure.values);
                } else if let Some((least, most)) = range(word) {
                    self.add(last.as_ref(), least, |figure| &mut figure.ends);
                    self.add(last.as_ref(), most, |figure| &mut figure.ends);
                }
            }
        }
    }

    fn add(&mut self, name: Option<&String>, value: &str, to: fn(&mut Figure) -> &mut Vec<f64>) {
        if let (Some(name), Ok(value)) = (name, value.parse()) {
            to(self.0.entry(name.clone()).or_default()).push(value);
        }
    }

    /// The median and, where they differ, the least and the most: `1,250 (1,109–1,306)`.
    pub fn cell(&self, name: &str) -> String {
        let Some((middle, all)) = self.0.get(name).and_then(Figure::seen) else { return "–".to_owned() };
        let [middle, least, most] = [middle.middle, all.least, all.most].map(number);
        if least == most { middle } else { format!("{middle} ({least}–{most})") }
    }

    /// The medians of a figure in all groups whose names begin so and end with a number, smallest first: `5.20, 4.90`.
    pub fn row(&self, group: &str, name: &str) -> String {
        let size =
            |full: &str| full.strip_prefix(group)?.strip_suffix(name)?.strip_suffix('.')?.parse::<u64>().ok();
        let sizes: BTreeMap<u64, String> = self
            .0
            .iter()
            .filter_map(|(full, figure)| Some((size(full)?, number(figure.seen()?.0.middle))))
            .collect();
        if sizes.is_empty() { "–".to_owned() } else { sizes.into_values().collect::<Vec<_>>().join(", ") }
    }
}

impl Figure {
    /// What the runs said, and that with how far apart it was within them.
    fn seen(&self) -> Option<(Spread, Spread)> {
        let values = || self.values.iter().copied();
        Some((Spread::of(values())?, Spread::of(values().chain(self.ends.iter().copied()))?))
    }
}

fn range(word: &str) -> Option<(&str, &str)> {
    word.strip_prefix('(')?.strip_suffix(')')?.split_once('-')
}

/// Three digits that count, and thousands set apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        small if small < 10.0 && small.fract() != 0.0 => 2,
        small if small < 100.0 && small.fract() != 0.0 => 1,
        _ => 0,
    };
    let text =
        if value.abs() < 1.0 && value != 0.0 { format!("{value:.3}") } else { format!("{value:.digits$}") };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_spread_of_what_was_said_are_shown() {
        let mut said = Said::default();
        for rate in ["1250", "1306", "1109"] {
            said.hear(&format!("database=sqlite lanes=10\nseconds=1.5 messages_per_second={rate}\n"));
        }
        said.hear("get_contact: requests_per_second=3932 (2643-4030) cpu_ms_per_request=0.490\n");
        assert_eq!(said.cell("messages_per_second"), "1,250 (1,109–1,306)");
        assert_eq!(said.cell("seconds"), "1.50");
        assert_eq!(said.cell("lanes"), "10");
        assert_eq!(said.cell("get_contact.requests_per_second"), "3,932 (2,643–4,030)");
        assert_eq!(said.cell("get_contact.cpu_ms_per_request"), "0.490");
        assert_eq!(said.cell("database"), "–");
    }

    #[test]
    fn what_lies_within_runs_widens_the_spread_and_does_not_move_the_middle() {
        let mut said = Said::default();
        for rates in ["20 (10-90)", "30 (25-95)", "40 (35-99)"] {
            said.hear(&format!("get: rate={rates}\n"));
        }
        assert_eq!(said.cell("get.rate"), "30 (10–99)");
    }

    #[test]
    fn a_figure_of_all_sizes_is_one_row() {
        let mut said = Said::default();
        for (size, took) in [(1_000, "5.2 (5.0-6.0)"), (10_000, "4.9"), (1_000_000, "5.5"), (100_000, "5.1")]
        {
            said.hear(&format!("rows_{size}: claim_ms={took} message_us={size}\n"));
        }
        assert_eq!(said.row("rows_", "claim_ms"), "5.20, 4.90, 5.10, 5.50");
        assert_eq!(said.row("rows_", "message_us"), "1,000, 10,000, 100,000, 1,000,000");
        assert_eq!(said.row("rows_", "list_ms"), "–");
    }
}
