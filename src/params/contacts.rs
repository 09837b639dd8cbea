//! Body of `PATCH /contacts/:id` and the filter of `GET /contacts`.

use serde::Deserialize;

use super::custom::Custom;
use crate::{
    errors::{ApiResult, Failures},
    http::json::{double_option, object},
    models::{contacts::Change, custom_fields::CustomFields, email_address::EmailAddress},
};

/// The greatest length of a name.
const NAME_CHARS: usize = 255;

/// Which contacts are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactFilters {
    /// The one with this address, in any spelling.
    pub email: Option<String>,
}

/// A change of a contact.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactChange {
    #[serde(deserialize_with = "object")]
    contact: ContactFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
struct ContactFields {
    #[serde(deserialize_with = "double_option")]
    email: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    first_name: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    last_name: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    company: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    custom: Option<Option<Custom>>,
}

impl ContactChange {
    /// What is to change.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self) -> ApiResult<Change> {
        let ContactFields { email, first_name, last_name, company, custom } = self.contact;
        let mut failures = Failures::new();
        let email = email.and_then(|email| {
            failures.parsed("email", EmailAddress::parse(email.as_deref().unwrap_or_default()))
        });
        for (field, text) in [("first_name", &first_name), ("last_name", &last_name), ("company", &company)] {
            if let Some(Some(text)) = text {
                failures.length(field, text, NAME_CHARS);
            }
        }
        let custom = custom.and_then(|custom| {
            failures
                .parsed("custom", CustomFields::parse(custom.map(|Custom(value)| value).unwrap_or_default()))
        });
        failures.into_result()?;
        Ok(Change { email, first_name, last_name, company, custom })
    }
}
