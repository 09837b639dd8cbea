//! What a task is told, as `key:value` pairs: held against what it takes before it does anything. A word that is not
//! known, missing or unreadable is answered with one line that names it, and nothing is done.

use loco_rs::{Error, Result, task::Vars};
use uuid::Uuid;

use crate::clock::Timestamp;

/// Lists what a task takes.
const HELP: &str = "help";
/// How a task answers.
const FORMAT: &str = "format";
/// A day in seconds.
const DAY: u64 = 86_400;

/// One argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Argument {
    name: &'static str,
    expects: &'static str,
    needed: bool,
}

/// An argument without which the task does nothing. `expects` completes "expected …".
pub(super) const fn needed(name: &'static str, expects: &'static str) -> Argument {
    Argument { name, expects, needed: true }
}

/// An argument that may be left out. `expects` completes "expected …".
pub(super) const fn optional(name: &'static str, expects: &'static str) -> Argument {
    Argument { name, expects, needed: false }
}

/// What a task is called, does and takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manual {
    /// The name behind `task`.
    pub name: &'static str,
    /// What it does, in a line.
    pub detail: &'static str,
    /// What it takes, beside `format` and `help`.
    pub arguments: &'static [Argument],
}

/// Every task takes these too.
const EVERYWHERE: [Argument; 2] =
    [optional(FORMAT, "`text` or `json`; text if left out"), optional(HELP, "anything: shows this text")];

impl Manual {
    fn all(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().chain(&EVERYWHERE)
    }

    /// The text that `help:yes` shows.
    pub(super) fn text(&self) -> String {
        let width = self.all().map(|it| it.name.len()).max().unwrap_or_default() + 1;
        let line = |it: &Argument| {
            let (name, mark) = (format!("{}:", it.name), if it.needed { "  (needed)" } else { "" });
            format!("  {name:width$}  {}{mark}\n", it.expects)
        };
        format!("{}: {}\n\n{}", self.name, self.detail, self.all().map(line).collect::<Vec<_>>().concat())
    }

    fn names(&self) -> String {
        self.all().map(|it| it.name).collect::<Vec<_>>().join(", ")
    }

    fn refuse(&self, problem: &str) -> Error {
        Error::Message(format!("{}: {problem}", self.name))
    }
}

/// How a task answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The arguments of one run, every name of which is known and every needed one there.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    manual: Manual,
    vars: &'a Vars,
    /// How to answer.
    pub format: Format,
}

impl<'a> Arguments<'a> {
    /// Whether the task is asked what it takes.
    pub(super) fn ask_for_help(vars: &Vars) -> bool {
        vars.cli.contains_key(HELP)
    }

    /// Holds what is given against what is taken.
    ///
    /// # Errors
    /// Names the first argument that is unknown, empty or missing.
    pub(super) fn check(manual: Manual, vars: &'a Vars) -> Result<Self> {
        for (name, value) in &vars.cli {
            let Some(argument) = manual.all().find(|it| it.name == name) else {
                let known = manual.names();
                return Err(
                    manual.refuse(&format!("the argument `{name}` is unknown, expected one of {known}"))
                );
            };
            if value.trim().is_empty() {
                let expects = argument.expects;
                return Err(manual.refuse(&format!("the argument `{name}` is empty, expected {expects}")));
            }
        }
        for Argument { name, expects, needed } in manual.arguments {
            if *needed && !vars.cli.contains_key(*name) {
                return Err(manual.refuse(&format!("the argument `{name}` is missing, expected {expects}")));
            }
        }
        let mut given = Self { manual, vars, format: Format::Text };
        let formats = [("text", Format::Text), ("json", Format::Json)];
        given.format = given.one_of(FORMAT, &formats)?.unwrap_or(Format::Text);
        Ok(given)
    }

    /// The argument as it was given.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.vars.cli.get(name).map(|value| value.trim())
    }

    /// An argument that [`Self::check`] found to be there.
    pub(super) fn needed(&self, name: &str) -> &'a str {
        self.text(name).unwrap_or_default()
    }

    /// The argument as what it means, if it was given.
    ///
    /// # Errors
    /// Names the argument when it cannot be read.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.text(name).map(|text| parse(text).ok_or_else(|| self.wrong(name))).transpose()
    }

    /// A needed argument as what it means.
    ///
    /// # Errors
    /// As there.
    pub(super) fn parse<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        parse(self.needed(name)).ok_or_else(|| self.wrong(name))
    }

    /// A needed id.
    ///
    /// # Errors
    /// As there.
    pub(super) fn id(&self, name: &'static str) -> Result<Uuid> {
        self.parse(name, |text| text.parse().ok())
    }

    /// An id that may be left out.
    ///
    /// # Errors
    /// As there.
    pub(super) fn optional_id(&self, name: &'static str) -> Result<Option<Uuid>> {
        self.parsed(name, |text| text.parse().ok())
    }

    /// One of a few words.
    ///
    /// # Errors
    /// As there.
    pub(super) fn one_of<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>> {
        self.parsed(name, |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }

    /// How many rows are shown.
    ///
    /// # Errors
    /// As there.
    pub(super) fn limit(&self, name: &'static str, usual: u32, most: u32) -> Result<u32> {
        let fits = |text: &str| text.parse().ok().filter(|number| (1..=most).contains(number));
        Ok(self.parsed(name, fits)?.unwrap_or(usual))
    }

    /// A moment: so many days ago (`7d`), or a time.
    ///
    /// # Errors
    /// As there.
    pub(super) fn since(&self, name: &'static str, now: Timestamp) -> Result<Timestamp> {
        self.parse(name, |text| match text.strip_suffix('d').map(str::parse::<u16>) {
            Some(Ok(days)) => Some(now.minus(std::time::Duration::from_secs(u64::from(days) * DAY))),
            _ => text.parse().ok(),
        })
    }

    /// A refusal of the whole, one line.
    pub(super) fn refuse(&self, problem: &str) -> Error {
        self.manual.refuse(problem)
    }

    /// A refusal that names an argument.
    pub(super) fn wrong(&self, name: &str) -> Error {
        let argument = self.manual.all().find(|it| it.name == name);
        let expects = argument.map_or("something else", |it| it.expects);
        let given = self.text(name).unwrap_or_default();
        self.manual.refuse(&format!("the argument `{name}:{given}` is wrong, expected {expects}"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const MANUAL: Manual = Manual {
        name: "tidy",
        detail: "Tidies up",
        arguments: &[needed("room", "the room's name"), optional("limit", "a number from 1 to 9")],
    };

    fn vars(given: &[(&str, &str)]) -> Vars {
        Vars::from_cli_args(given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn refusal(given: &[(&str, &str)]) -> String {
        let vars = vars(given);
        let read = Arguments::check(MANUAL, &vars).and_then(|it| it.limit("limit", 5, 9));
        read.unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line_with_what_is_expected() {
        for (given, line) in [
            (&[][..], "tidy: the argument `room` is missing, expected the room's name"),
            (&[("room", " ")], "tidy: the argument `room` is empty, expected the room's name"),
            (
                &[("room", "a"), ("limt", "3")],
                "tidy: the argument `limt` is unknown, expected one of room, limit, format, help",
            ),
            (
                &[("room", "a"), ("limit", "10")],
                "tidy: the argument `limit:10` is wrong, expected a number from 1 to 9",
            ),
            (
                &[("room", "a"), ("format", "xml")],
                "tidy: the argument `format:xml` is wrong, expected `text` or `json`; text if left out",
            ),
        ] {
            assert_eq!(refusal(given), line);
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let vars = vars(&[("room", " kitchen ")]);
        let given = Arguments::check(MANUAL, &vars).unwrap();
        assert_eq!((given.needed("room"), given.format), ("kitchen", Format::Text));
        assert_eq!(given.limit("limit", 5, 9).unwrap(), 5);
    }

    #[test]
    fn a_moment_is_days_ago_or_a_time() {
        let now: Timestamp = "2026-04-27T10:00:00Z".parse().unwrap();
        for (text, meant) in [
            ("2d", Some("2026-04-25T10:00:00Z")),
            ("2026-04-01T08:00:00Z", Some("2026-04-01T08:00:00Z")),
            ("2026-04-01", Some("2026-04-01T00:00:00Z")),
            ("-1d", None),
            ("d", None),
            ("soon", None),
        ] {
            let vars = vars(&[("room", text)]);
            let given = Arguments::check(MANUAL, &vars).unwrap();
            assert_eq!(given.since("room", now).ok().map(|it| it.to_string()).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn help_shows_every_argument() {
        let text = MANUAL.text();
        for part in ["tidy: Tidies up", "room:", "(needed)", "limit:", "format:", "help:"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
