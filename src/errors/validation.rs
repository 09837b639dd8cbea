//! The collector of validation failures: all of them at once, in the order of the model's fields,
//! as one sentence for people and one entry each for programs.
//!
//! It never holds the rejected value: that may be a password.

use std::{borrow::Cow, fmt};

use serde_json::json;
use validator::{ValidateLength, ValidateRange};

use super::{ApiError, ApiResult, Code};

/// Why a field was refused; displayed as the phrase that follows the field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Missing, null, empty or only white space.
    Blank,
    /// Not of the form that the field needs.
    Invalid,
    /// Another record has it.
    Taken,
    /// Below the least value.
    AtLeast(i64),
    /// Above the greatest value.
    AtMost(i64),
    /// At or below a bound that is not itself allowed.
    GreaterThan(i64),
    /// Longer than so many characters.
    TooLong(usize),
    /// Not one of the allowed values.
    NotInList,
    /// A phrase of its own, which follows the field's name.
    Other(Cow<'static, str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("can't be blank"),
            Self::Invalid => f.write_str("is invalid"),
            Self::Taken => f.write_str("has already been taken"),
            Self::AtLeast(least) => write!(f, "must be greater than or equal to {least}"),
            Self::AtMost(most) => write!(f, "must be less than or equal to {most}"),
            Self::GreaterThan(bound) => write!(f, "must be greater than {bound}"),
            Self::TooLong(most) => write!(f, "is too long (maximum is {most} characters)"),
            Self::NotInList => f.write_str("is not included in the list"),
            Self::Other(phrase) => f.write_str(phrase),
        }
    }
}

/// The failures found so far. The helpers add a failure where there is one and say whether the
/// value passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    prefix: String,
    found: Vec<(String, Reason)>,
}

impl Failures {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything passed so far.
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds a failure. `field` is a name or a path such as `smtp_credentials[0].smtp_host`,
    /// relative to the record being checked.
    pub fn add(&mut self, field: &str, reason: Reason) {
        self.found.push((format!("{}{field}", self.prefix), reason));
    }

    /// Adds what another collector found, at its own places.
    pub fn append(&mut self, other: Self) {
        self.found.extend(other.found);
    }

    /// Checks a nested record: fields that `check` adds are named below `parent`, for example
    /// `sequence_steps[1]`.
    pub fn nested<R>(&mut self, parent: &str, check: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.prefix.len();
        self.prefix.push_str(parent);
        self.prefix.push('.');
        let result = check(self);
        self.prefix.truncate(outer);
        result
    }

    /// A required text of at most `most` characters; white space alone is blank.
    pub fn text(&mut self, field: &str, value: &str, most: usize) -> bool {
        if value.trim().is_empty() {
            self.add(field, Reason::Blank);
            return false;
        }
        self.length(field, value, most)
    }

    /// A text that may be empty, of at most `most` characters.
    pub fn length(&mut self, field: &str, value: &str, most: usize) -> bool {
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let fits = value.validate_length(None, Some(limit), None);
        if !fits {
            self.add(field, Reason::TooLong(most));
        }
        fits
    }

    /// A whole number from `least` to `most`, both allowed.
    pub fn range(&mut self, field: &str, value: i64, least: i64, most: i64) -> bool {
        if !value.validate_range(Some(least), None, None, None) {
            self.add(field, Reason::AtLeast(least));
            return false;
        }
        let fits = value.validate_range(None, Some(most), None, None);
        if !fits {
            self.add(field, Reason::AtMost(most));
        }
        fits
    }

    /// Ends the check.
    ///
    /// # Errors
    /// `validation_failed` with every failure, if there is any.
    pub fn into_result(self) -> ApiResult<()> {
        if self.is_empty() { Ok(()) } else { Err(self.into()) }
    }

    /// One failure alone, as an error.
    pub fn one(field: &str, reason: Reason) -> ApiError {
        let mut failures = Self::new();
        failures.add(field, reason);
        failures.into()
    }

    /// The value of a parse, or `None` with its reason noted.
    pub fn parsed<T, R: Into<Reason>>(&mut self, field: &str, result: Result<T, R>) -> Option<T> {
        result.map_err(|reason| self.add(field, reason.into())).ok()
    }

    /// The parsed values, which are there if nothing failed.
    ///
    /// # Errors
    /// `validation_failed` with every failure, if there is any.
    pub fn finish<T>(self, values: Option<T>) -> ApiResult<T> {
        match values {
            Some(values) if self.is_empty() => Ok(values),
            _ => Err(self.into()),
        }
    }
}

impl From<Failures> for ApiError {
    fn from(failures: Failures) -> Self {
        if failures.is_empty() {
            return Self::new(Code::ValidationFailed);
        }
        let sentences: Vec<_> =
            failures.found.iter().map(|(field, reason)| sentence(field, reason)).collect();
        let errors: Vec<_> = failures
            .found
            .iter()
            .map(|(field, reason)| json!({ "field": field, "message": reason.to_string() }))
            .collect();
        Self::new(Code::ValidationFailed).message(sentences.join(", ")).details(json!({ "errors": errors }))
    }
}

/// The humanised path and the reason: `smtp_credentials[0].smtp_host` is "Smtp credentials smtp
/// host".
fn sentence(field: &str, reason: &Reason) -> String {
    let mut words = String::with_capacity(field.len() + 32);
    let mut in_index = false;
    for character in field.chars() {
        match character {
            '[' => in_index = true,
            ']' => in_index = false,
            _ if in_index => {}
            '_' | '.' => words.push(' '),
            _ if words.is_empty() => words.extend(character.to_uppercase()),
            _ => words.push(character),
        }
    }
    format!("{words} {reason}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn message(field: &str, reason: Reason) -> String {
        let mut failures = Failures::new();
        failures.add(field, reason);
        failures.into_result().unwrap_err().message.into_owned()
    }

    #[test]
    fn the_phrases_are_those_of_the_contract() {
        let cases = [
            (Reason::Blank, "Name can't be blank"),
            (Reason::Invalid, "Name is invalid"),
            (Reason::Taken, "Name has already been taken"),
            (Reason::AtLeast(0), "Name must be greater than or equal to 0"),
            (Reason::AtMost(86_400), "Name must be less than or equal to 86400"),
            (Reason::GreaterThan(0), "Name must be greater than 0"),
            (Reason::TooLong(255), "Name is too long (maximum is 255 characters)"),
            (Reason::NotInList, "Name is not included in the list"),
            (Reason::Other("must be unique".into()), "Name must be unique"),
        ];
        for (reason, expected) in cases {
            assert_eq!(message("name", reason), expected);
        }
    }

    #[test]
    fn a_field_path_reads_as_words() {
        assert_eq!(
            message("smtp_credentials[0].smtp_host", Reason::Blank),
            "Smtp credentials smtp host can't be blank"
        );
        assert_eq!(
            message("min_wait_seconds", Reason::AtLeast(0)),
            "Min wait seconds must be greater than or equal to 0"
        );
        assert_eq!(message("steps[1][2]", Reason::Invalid), "Steps is invalid");
    }

    #[test]
    fn all_failures_come_at_once_in_order_those_of_nested_records_too() {
        let mut failures = Failures::new();
        assert!(!failures.text("name", " \t", 255));
        assert!(!failures.range("min_wait_seconds", -1, 0, 86_400));
        failures.nested("smtp_credentials[0]", |f| {
            f.text("smtp_host", "", 255);
            f.nested("deeper", |f| f.add("still", Reason::Taken));
        });
        failures.add("email", Reason::Invalid);
        let error = failures.into_result().unwrap_err();
        assert_eq!(error.code, Code::ValidationFailed);
        assert_eq!(
            error.message,
            "Name can't be blank, Min wait seconds must be greater than or equal to 0, \
             Smtp credentials smtp host can't be blank, \
             Smtp credentials deeper still has already been taken, Email is invalid"
        );
        assert_eq!(
            error.details.unwrap().pointer("/errors/2"),
            Some(&json!({ "field": "smtp_credentials[0].smtp_host", "message": "can't be blank" }))
        );
    }

    #[test]
    fn bounds_are_inclusive_and_lengths_count_characters() {
        let mut failures = Failures::new();
        assert!(failures.range("n", 1, 1, 3) && failures.range("n", 3, 1, 3));
        assert!(failures.text("t", "äöü", 3) && failures.length("t", "", 3));
        assert_eq!(failures.clone().into_result().map_err(|e| e.message), Ok(()));
        assert!(!failures.range("n", 4, 1, 3) && !failures.length("t", "äöüß", 3));
        assert_eq!(failures.found.len(), 2);
    }
}
