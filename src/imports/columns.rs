//! What the columns of a table are, by its header: fields of a contact by their names, anything else its own fields.
//!
//! Pure. Names are turned into snake case, so that `First Name` and `firstName` are `first_name`; values are trimmed, and
//! an empty one is no value.

use heck::ToSnakeCase;
use serde_json::{Map, Value};

use crate::{
    errors::{Failures, Reason},
    models::contact_rows::{GivenContact, NewContact, RowFailures},
};

/// Most columns that are no fields of a contact: as many as a contact's own fields.
const MOST_OWN: usize = 50;
/// The greatest length of a name.
const NAME_CHARS: usize = 255;
/// Characters of a name that a refusal repeats.
const SHOWN_CHARS: usize = 50;
/// The fields of a contact.
const KNOWN: [&str; 4] = ["email", "first_name", "last_name", "company"];
/// The field that failures of a whole header name.
const HEADER: &str = "header";

/// The names of the columns, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<String>);

/// A row that was left out: its address, if it can be shown, and why.
pub(super) type Refused = (Option<String>, RowFailures);

impl Columns {
    /// Reads a header; what is wrong with it goes to `failures`.
    pub(super) fn read<'a>(fields: impl Iterator<Item = &'a [u8]>, failures: &mut Failures) -> Option<Self> {
        let Ok(given) = fields.map(std::str::from_utf8).collect::<Result<Vec<_>, _>>() else {
            failures.add(HEADER, Reason::Other("must be in UTF-8".into()));
            return None;
        };
        let names: Vec<String> = given.iter().map(|name| name.to_snake_case()).collect();
        for (index, name) in names.iter().enumerate() {
            let earlier = names.get(..index).unwrap_or_default();
            if let Some(reason) = unfit(name, earlier, given.get(index).copied().unwrap_or_default()) {
                failures.add(HEADER, reason);
            }
        }
        if names.iter().filter(|name| !KNOWN.contains(&name.as_str())).count() > MOST_OWN {
            let reason = format!("has more than {MOST_OWN} columns of its own");
            failures.add(HEADER, Reason::Other(reason.into()));
        }
        if !names.iter().any(|name| name == "email") {
            failures.add("email", Reason::Other("must be one of the columns".into()));
        }
        Some(Self(names))
    }

    /// As [`Self::to_value`] stored them.
    pub fn from_stored(stored: &Value) -> Self {
        let names = stored.as_array().into_iter().flatten();
        Self(names.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// To be stored.
    pub fn to_value(&self) -> Value {
        self.0.clone().into()
    }

    /// The contact of a row.
    pub(super) fn contact<'a>(
        &self,
        fields: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<NewContact, Refused> {
        let count = fields.len();
        let texts: Vec<_> = fields.map(|field| String::from_utf8_lossy(field.trim_ascii())).collect();
        let given = self.given(&texts);
        if count != self.0.len() {
            let reason = format!("has {count} columns instead of {}", self.0.len());
            return Err(refused(given.email, reason));
        }
        // Lossy reading copies only what is no UTF-8.
        if texts.iter().any(|text| matches!(text, std::borrow::Cow::Owned(_))) {
            return Err(refused(given.email, "is not in UTF-8"));
        }
        given.check()
    }

    fn given(&self, texts: &[std::borrow::Cow<'_, str>]) -> GivenContact {
        let mut given = GivenContact::default();
        let mut custom = Map::new();
        for (name, text) in self.0.iter().zip(texts) {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let value = Some(text.to_owned());
            match name.as_str() {
                "email" => given.email = value,
                "first_name" => given.first_name = value,
                "last_name" => given.last_name = value,
                "company" => given.company = value,
                _ => drop(custom.insert(name.clone(), text.into())),
            }
        }
        if !custom.is_empty() {
            given.custom = custom.into();
        }
        given
    }
}

/// A row that is refused as a whole.
pub(super) fn refused(email: Option<String>, reason: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    (email, vec![("row", Reason::Other(reason.into()))])
}

/// Why a name cannot be that of a column, if it cannot.
fn unfit(name: &str, earlier: &[String], given: &str) -> Option<Reason> {
    let shown: String = given.chars().filter(|it| !it.is_control()).take(SHOWN_CHARS).collect();
    if name.is_empty() {
        Some(Reason::Other("has a column without a name".into()))
    } else if name.chars().any(char::is_control) {
        Some(Reason::Other(format!("has a column `{shown}` with control characters").into()))
    } else if name.chars().nth(NAME_CHARS).is_some() {
        Some(Reason::Other(format!("has a column `{shown}` with more than {NAME_CHARS} characters").into()))
    } else if earlier.iter().any(|it| it == name) {
        Some(Reason::Other(format!("has the column `{shown}` twice").into()))
    } else {
        None
    }
}
