//! Where filters of the library do not do what Liquid's own do, what stands before and behind them.
//!
//! Left as the library has them: `divided_by` and `modulo` round towards zero, a whole result of decimal numbers is written
//! without a point, and `url_encode` writes `%20` for a space.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use liquid_core::{Value, ValueView, model};

/// What the library calls the type of its times.
const TIME: &str = "date time";

/// What of a filter is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nothing.
    Same,
    /// A text is taken letter by letter, where the library mixes letters and bytes.
    Letters,
    /// The rest of the text becomes small, not only its first letter large.
    Capitalized,
    /// A time may be written as in ISO 8601, as this API does.
    Time,
}

impl Dialect {
    pub(super) fn of(filter: &str) -> Self {
        match filter {
            "size" | "slice" => Self::Letters,
            "capitalize" => Self::Capitalized,
            "date" => Self::Time,
            _ => Self::Same,
        }
    }

    /// What the filter gets in place of its input.
    pub(super) fn before(self, input: &dyn ValueView) -> Option<Value> {
        match self {
            Self::Same => None,
            Self::Letters => input.as_scalar().map(|_| {
                Value::array(input.to_kstr().chars().map(|letter| Value::scalar(letter.to_string())))
            }),
            Self::Capitalized => Some(Value::scalar(input.to_kstr().to_lowercase())),
            Self::Time => time(input.to_kstr().trim()).map(Value::scalar),
        }
    }

    /// What is given in place of the output for such an input.
    pub(super) fn behind(self, input: &dyn ValueView, output: Value) -> Value {
        match (self, output.as_array()) {
            (Self::Letters, Some(letters)) => {
                let text: Vec<_> = letters.values().map(|letter| letter.to_kstr().into_owned()).collect();
                Value::scalar(text.concat())
            }
            // Without a format it gives back what it got.
            (Self::Time, None) if output.type_name() == TIME => input.to_value(),
            _ => output,
        }
    }
}

/// A time of the library's. One without an offset is UTC.
fn time(text: &str) -> Option<model::DateTime> {
    let zoned = DateTime::parse_from_rfc3339(text).ok();
    let local = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok();
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let time = zoned.or_else(|| Some(local().or_else(day)?.and_utc().fixed_offset()))?;
    model::DateTime::from_str(&time.format("%Y-%m-%d %H:%M:%S%.f %z").to_string())
}
