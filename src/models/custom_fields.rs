//! A contact's own fields, for merge tags: a flat object of strings, numbers and booleans.
//!
//! Nothing nested and nothing null: a template reads `custom.<key>`, and what is absent is empty.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::errors::Reason;

/// Most keys of one contact.
const MOST_KEYS: usize = 50;
/// Longest key, in characters.
const KEY_CHARS: usize = 255;
/// Longest string, in characters: far above any name, far below what would fill a mail.
const TEXT_CHARS: usize = 10_000;

/// The checked fields. Their order is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CustomFields(Map<String, Value>);

impl CustomFields {
    /// Checks a JSON value; null is no fields at all.
    ///
    /// # Errors
    /// The reason as a validation shows it: invalid for any other shape, too long for a key or a string.
    pub fn parse(value: Value) -> Result<Self, Reason> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(fields) => Self::check(fields),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(Reason::Invalid),
        }
    }

    fn check(fields: Map<String, Value>) -> Result<Self, Reason> {
        if fields.len() > MOST_KEYS {
            return Err(Reason::Invalid);
        }
        for (key, value) in &fields {
            check_key(key)?;
            match value {
                Value::String(text) => check_length(text, TEXT_CHARS)?,
                Value::Bool(_) | Value::Number(_) => {}
                Value::Null | Value::Array(_) | Value::Object(_) => return Err(Reason::Invalid),
            }
        }
        Ok(Self(fields))
    }

    /// Takes what this type stored earlier; a shape that it never stored reads as no fields.
    pub fn from_stored(value: Value) -> Self {
        Self::parse(value).unwrap_or_default()
    }

    /// The value of a key: a string, a number or a boolean.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the column and the answers.
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl From<CustomFields> for Value {
    fn from(fields: CustomFields) -> Self {
        Self::Object(fields.0)
    }
}

fn check_key(key: &str) -> Result<(), Reason> {
    if key.trim().is_empty() || key.chars().any(char::is_control) {
        return Err(Reason::Invalid);
    }
    check_length(key, KEY_CHARS)
}

/// NUL is refused as well: `PostgreSQL` cannot store it.
fn check_length(text: &str, most: usize) -> Result<(), Reason> {
    if text.contains('\0') {
        return Err(Reason::Invalid);
    }
    if text.chars().nth(most).is_some() { Err(Reason::TooLong(most)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn strings_numbers_and_booleans_pass_and_come_back() {
        let given = json!({"plan": "pro", "seats": 3, "rate": 1.5, "trial": false, "first order": ""});
        let fields = CustomFields::parse(given.clone()).unwrap();
        assert_eq!(fields.get("seats"), Some(&json!(3)));
        assert_eq!(fields.get("absent"), None);
        assert_eq!(fields.to_value(), given);
        assert_eq!(serde_json::to_value(&fields).unwrap(), given);
        assert_eq!(Value::from(fields), given);
        assert!(CustomFields::parse(Value::Null).unwrap().is_empty());
    }

    #[test]
    fn other_shapes_say_why() {
        let fifty_one: Map<String, Value> = (0..51).map(|n| (n.to_string(), json!(n))).collect();
        for bad in [
            json!([]),
            json!("x"),
            json!(1),
            json!({"a": null}),
            json!({"a": {}}),
            json!({"a": []}),
            json!({"": 1}),
            json!({"a\n": 1}),
            json!({"a": "x\0"}),
            Value::Object(fifty_one),
        ] {
            assert_eq!(CustomFields::parse(bad.clone()), Err(Reason::Invalid), "{bad}");
            assert!(CustomFields::from_stored(bad).is_empty());
        }
        assert_eq!(CustomFields::parse(json!({"a": "ö".repeat(10_001)})), Err(Reason::TooLong(10_000)));
        assert_eq!(CustomFields::parse(json!({"a".repeat(256): 1})), Err(Reason::TooLong(255)));
    }
}
