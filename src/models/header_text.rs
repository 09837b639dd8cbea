//! Text that may stand in a mail header or a name: one line, no control characters.
//!
//! A line break in a display name would let its author write headers of their own, and makes the mail library
//! panic. Encoding what is not ASCII is done where the mail is composed.

use std::fmt;

use crate::errors::Reason;

/// One line of text, trimmed and not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderText(String);

impl HeaderText {
    /// Greatest length of names and labels, in characters.
    pub const NAME_CHARS: usize = 255;
    /// Greatest length of subjects, in characters.
    pub const SUBJECT_CHARS: usize = 998;

    /// Trims and checks against a length in characters.
    ///
    /// # Errors
    /// The reason as a validation shows it: blank, too long, or invalid for a control character within.
    pub fn parse(text: &str, most: usize) -> Result<Self, Reason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Reason::Blank);
        }
        if text.chars().any(breaks_a_line) {
            return Err(Reason::Invalid);
        }
        if text.chars().nth(most).is_some() {
            return Err(Reason::TooLong(most));
        }
        Ok(Self(text.to_owned()))
    }

    /// From text of any kind, such as a rendered subject: what cannot stand in a header becomes a space, and
    /// what is too long is cut. May be empty.
    pub fn flatten(text: &str, most: usize) -> Self {
        let line: String = text.chars().map(|char| if breaks_a_line(char) { ' ' } else { char }).collect();
        let line: String = line.trim().chars().take(most).collect();
        Self(line.trim_end().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters and Unicode's own line and paragraph separators.
fn breaks_a_line(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for HeaderText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_trimmed_line_passes() {
        assert_eq!(HeaderText::parse(" Jo Döe ", 255).unwrap().as_str(), "Jo Döe");
        assert!(HeaderText::parse(&"ö".repeat(255), 255).is_ok());
    }

    #[test]
    fn everything_else_says_why() {
        assert_eq!(HeaderText::parse(" \n", 255), Err(Reason::Blank));
        assert_eq!(HeaderText::parse(&"ö".repeat(256), 255), Err(Reason::TooLong(255)));
        for bad in ["a\nb", "a\rb", "a\r\nBcc: x", "a\0b", "a\tb", "a\u{7f}b", "a\u{85}b", "a\u{2028}b"] {
            assert_eq!(HeaderText::parse(bad, 255), Err(Reason::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_rendered_line_break_becomes_a_space() {
        assert_eq!(HeaderText::flatten("Hi Jo\r\nBcc: x\u{2029}y\n", 998).as_str(), "Hi Jo  Bcc: x y");
        assert_eq!(HeaderText::flatten(&"ö".repeat(2_000), 998).as_str().chars().count(), 998);
    }

    #[test]
    fn no_space_is_left_at_the_ends_of_what_was_flattened() {
        assert_eq!(HeaderText::flatten("\u{7} Ada\u{7}", 998).as_str(), "Ada");
        assert_eq!(HeaderText::flatten("Ada Love", 4).as_str(), "Ada");
    }

    proptest! {
        #[test]
        fn what_was_flattened_parses_unless_it_is_blank(text in any::<String>()) {
            let flat = HeaderText::flatten(&text, 998);
            prop_assert!(matches!(HeaderText::parse(flat.as_str(), 998), Ok(_) | Err(Reason::Blank)));
        }
    }
}
