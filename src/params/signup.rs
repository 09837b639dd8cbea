//! Body of `POST /signup`.

use serde::Deserialize;

use crate::{
    errors::{ApiResult, Failures},
    models::email_address::EmailAddress,
};

/// Who signs up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signup {
    email: Option<String>,
    name: Option<String>,
}

impl Signup {
    /// The address and name.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self) -> ApiResult<(EmailAddress, Option<String>)> {
        let mut failures = Failures::new();
        let email = failures.parsed("email", EmailAddress::parse(self.email.as_deref().unwrap_or_default()));
        if let Some(name) = &self.name {
            failures.length("name", name, 255);
        }
        failures.finish(email.map(|email| (email, self.name)))
    }
}
