//! A contact as the template language sees it.
//!
//! Its fields are lent, not copied: a runtime is made for every message. Only the names that `check.rs` let
//! through are asked for, and every one of them has a value, if only an empty one.

use std::fmt;
use std::sync::Arc;

use liquid_core::model::{DisplayCow, KString, KStringCow, KStringRef, ScalarCow, State};
use liquid_core::runtime::{PartialStore, Registers};
use liquid_core::{Error, Renderable, Runtime, Value, ValueCow, ValueView};

use crate::models::CustomFields;

/// What the merge tags of one message stand for.
#[derive(Clone, Copy, Debug)]
pub struct MergeValues<'a> {
    /// `{{ first_name }}`; absent and empty are alike.
    pub first_name: Option<&'a str>,
    /// `{{ last_name }}`
    pub last_name: Option<&'a str>,
    /// `{{ company }}`
    pub company: Option<&'a str>,
    /// `{{ email }}`
    pub email: &'a str,
    /// `{{ custom.<key> }}`
    pub custom: &'a CustomFields,
}

/// The names of the tags that are not `custom.<key>`.
pub(super) const NAMES: [&str; 4] = ["first_name", "last_name", "company", "email"];

/// A text of the contact, or nothing: then it is nil, blank, false and the empty string at once, so that every
/// way in which an author may ask for it gives the same answer and no comparison fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a>(&'a str);

/// What an absent value looks like.
pub(super) static MISSING: Field<'static> = Field("");

impl ValueView for Field<'_> {
    fn as_debug(&self) -> &dyn fmt::Debug {
        self
    }

    fn render(&self) -> DisplayCow<'_> {
        DisplayCow::Borrowed(&self.0)
    }

    fn source(&self) -> DisplayCow<'_> {
        DisplayCow::Owned(Box::new(format!("{:?}", self.0)))
    }

    fn type_name(&self) -> &'static str {
        "string"
    }

    fn query_state(&self, state: State) -> bool {
        match state {
            State::Truthy => !self.0.is_empty(),
            State::DefaultValue | State::Empty => self.0.is_empty(),
            State::Blank => self.0.trim().is_empty(),
        }
    }

    fn to_kstr(&self) -> KStringCow<'_> {
        KStringCow::from_ref(self.0)
    }

    fn to_value(&self) -> Value {
        if self.0.is_empty() { Value::Nil } else { Value::scalar(KString::from_ref(self.0)) }
    }

    fn as_scalar(&self) -> Option<ScalarCow<'_>> {
        Some(ScalarCow::new(KStringCow::from_ref(self.0)))
    }

    fn is_nil(&self) -> bool {
        self.0.is_empty()
    }
}

/// One contact, for the length of one rendering.
pub(super) struct ContactRuntime<'a> {
    fields: [Field<'a>; 4],
    custom: &'a CustomFields,
    registers: Registers,
}

impl<'a> ContactRuntime<'a> {
    pub(super) fn new(values: &MergeValues<'a>) -> Self {
        let text = |value: Option<&'a str>| Field(value.unwrap_or_default());
        let MergeValues { first_name, last_name, company, email, custom } = *values;
        Self {
            fields: [text(first_name), text(last_name), text(company), Field(email)],
            custom,
            registers: Registers::default(),
        }
    }

    fn custom_value(&self, key: &str) -> ValueCow<'_> {
        match self.custom.get(key) {
            Some(serde_json::Value::String(text)) if !text.is_empty() => Value::scalar(text.clone()).into(),
            Some(serde_json::Value::Bool(flag)) => Value::scalar(*flag).into(),
            Some(serde_json::Value::Number(number)) => number_value(number).into(),
            _ => ValueCow::Borrowed(&MISSING),
        }
    }
}

/// A number that fits neither of the language's own types keeps its digits.
fn number_value(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => Value::scalar(integer),
        (None, Some(float)) if number.is_f64() => Value::scalar(float),
        (None, _) => Value::scalar(number.to_string()),
    }
}

impl Runtime for ContactRuntime<'_> {
    fn partials(&self) -> &dyn PartialStore {
        &NoPartials
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        None
    }

    fn roots(&self) -> std::collections::BTreeSet<KStringCow<'_>> {
        std::collections::BTreeSet::new()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        let (name, rest) = path.split_first()?;
        let name = name.to_kstr();
        if let Some(index) = NAMES.iter().position(|known| name == *known) {
            return self.fields.get(index).map(|field| ValueCow::Borrowed(field));
        }
        rest.first().map(|key| self.custom_value(key.to_kstr().as_str()))
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> liquid_core::Result<ValueCow<'_>> {
        Ok(self.try_get(path).unwrap_or(ValueCow::Borrowed(&MISSING)))
    }

    fn set_global(&self, _name: KString, _value: Value) -> Option<Value> {
        None
    }

    fn set_index(&self, _name: KString, _value: Value) -> Option<Value> {
        None
    }

    fn get_index<'r>(&'r self, _name: &str) -> Option<ValueCow<'r>> {
        None
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }
}

/// There are no includes.
#[derive(Debug)]
pub(super) struct NoPartials;

impl PartialStore for NoPartials {
    fn contains(&self, _name: &str) -> bool {
        false
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn try_get(&self, _name: &str) -> Option<Arc<dyn Renderable>> {
        None
    }

    fn get(&self, _name: &str) -> liquid_core::Result<Arc<dyn Renderable>> {
        Err(Error::with_msg("there are no includes"))
    }
}
