//! Body of `POST /campaigns/:id/test_send`.

use serde::Deserialize;
use uuid::Uuid;

use crate::{
    errors::{ApiError, ApiResult, Code, Failures, Reason},
    http::path::parse_id,
    models::EmailAddress,
};

/// The most addresses of one test.
const MOST_EMAILS: usize = 10;

/// What to send to whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSend {
    emails: Option<Vec<String>>,
    position: Option<i64>,
    contact_id: Option<String>,
}

impl TestSend {
    /// The contact whose values fill the templates.
    ///
    /// # Errors
    /// `contact_not_found` when it is no id.
    pub fn contact_id(&self) -> ApiResult<Option<Uuid>> {
        self.contact_id.as_deref().map(|id| parse_id(id, Code::ContactNotFound)).transpose()
    }

    /// The addresses, each once, and the one step if one is named; `steps` is how many there are.
    ///
    /// # Errors
    /// `no_emails_provided`, `validation_failed`.
    pub fn parse(self, steps: usize) -> ApiResult<(Vec<EmailAddress>, Option<i32>)> {
        let given = self.emails.unwrap_or_default();
        if given.is_empty() {
            return Err(ApiError::new(Code::NoEmailsProvided));
        }
        let mut failures = Failures::new();
        if given.len() > MOST_EMAILS {
            let phrase = format!("has too many entries (maximum is {MOST_EMAILS})");
            failures.add("emails", Reason::Other(phrase.into()));
            return Err(failures.into());
        }
        let mut emails: Vec<EmailAddress> = Vec::with_capacity(given.len());
        for (index, email) in given.iter().enumerate() {
            let email = failures.parsed(&format!("emails[{index}]"), EmailAddress::parse(email));
            emails.extend(email.filter(|email| emails.iter().all(|known| known.key() != email.key())));
        }
        let most = i64::try_from(steps).unwrap_or(i64::MAX);
        if let Some(position) = self.position {
            failures.range("position", position, 1, most);
        }
        let position = self.position.and_then(|position| i32::try_from(position).ok());
        failures.finish(Some((emails, position)))
    }
}
