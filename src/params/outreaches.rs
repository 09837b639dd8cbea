//! Bodies of `POST /outreaches` and `PATCH /outreaches/:id`.

use serde::Deserialize;

use crate::{
    errors::{ApiResult, Failures, Reason},
    http::json::{double_option, object},
};

/// The greatest length of a name.
const NAME_CHARS: usize = 255;

/// An outreach to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOutreach {
    #[serde(deserialize_with = "object")]
    outreach: OutreachFields,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutreachFields {
    name: Option<String>,
    unique_contacts: Option<bool>,
}

/// A change of an outreach.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutreachChange {
    #[serde(deserialize_with = "object")]
    outreach: ChangedFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
struct ChangedFields {
    #[serde(deserialize_with = "double_option")]
    name: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    unique_contacts: Option<Option<bool>>,
}

impl NewOutreach {
    /// Its name, and whether its campaigns share no contacts.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self) -> ApiResult<(String, bool)> {
        let OutreachFields { name, unique_contacts } = self.outreach;
        let name = name.unwrap_or_default();
        let mut failures = Failures::new();
        failures.text("name", &name, NAME_CHARS);
        failures.into_result()?;
        Ok((name, unique_contacts.unwrap_or(false)))
    }
}

impl OutreachChange {
    /// What is to change.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self) -> ApiResult<(Option<String>, Option<bool>)> {
        let ChangedFields { name, unique_contacts } = self.outreach;
        let mut failures = Failures::new();
        let name = name.map(Option::unwrap_or_default);
        if let Some(name) = &name {
            failures.text("name", name, NAME_CHARS);
        }
        if unique_contacts == Some(None) {
            failures.add("unique_contacts", Reason::Blank);
        }
        failures.into_result()?;
        Ok((name, unique_contacts.flatten()))
    }
}
