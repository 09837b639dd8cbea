//! What benchmarks said, and how a table shows it. They say `name=value` pairs, in lines that may begin with `group:`; a
//! range in parentheses behind a pair is the spread of what was measured more than once.

use std::collections::BTreeMap;

/// All that several runs of one benchmark said, by name (`group.name`).
#[derive(Debug, Default)]
pub struct Said(BTreeMap<String, Vec<f64>>);

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
                    self.add(last.as_ref(), value);
                } else if let Some((least, most)) = range(word) {
                    self.add(last.as_ref(), least);
                    self.add(last.as_ref(), most);
                }
            }
        }
    }

    fn add(&mut self, name: Option<&String>, value: &str) {
        if let (Some(name), Ok(value)) = (name, value.parse()) {
            self.0.entry(name.clone()).or_default().push(value);
        }
    }

    /// The median and, where they differ, the least and the most: `1,250 (1,109–1,306)`.
    pub fn cell(&self, name: &str) -> String {
        let Some(values) = self.0.get(name) else { return "–".to_owned() };
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        let shown: Vec<String> = [0, values.len() / 2, values.len() - 1]
            .iter()
            .filter_map(|at| values.get(*at).copied().map(number))
            .collect();
        match shown.as_slice() {
            [least, middle, most] if least != most => format!("{middle} ({least}–{most})"),
            [_, middle, _] => middle.clone(),
            _ => "–".to_owned(),
        }
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
}
