//! The error that everything above network and crypto returns. It says what the client is told
//! and, apart from that, what the log is told; the two never mix.
//!
//! It knows no HTTP types: `respond` turns it into an answer.

use std::{borrow::Cow, error::Error, fmt};

use serde_json::Value;

use super::Code;

/// Seconds after which a client may try again when the server was merely busy.
const BUSY_RETRY_SECONDS: u32 = 1;

/// The result of everything that can be refused.
pub type ApiResult<T> = Result<T, ApiError>;

/// A refusal or failure: a code of the catalogue, words for people, details for programs, and a
/// cause that only the log sees.
#[derive(Debug)]
pub struct ApiError {
    /// What clients branch on; the status follows from it.
    pub code: Code,
    /// For people. Ignored for `internal_error`, whose text is fixed.
    pub message: Cow<'static, str>,
    /// For programs; absent when there is nothing to add.
    pub details: Option<Value>,
    /// What went wrong inside: logged with a 5xx, never shown.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl ApiError {
    /// The code with its default message.
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            message: Cow::Borrowed(code.default_message()),
            details: None,
            cause: None,
            retry_after: None,
        }
    }

    /// With a message of its own.
    #[must_use]
    pub fn message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// With details for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// With `Retry-After`, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With a cause for the log.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// `internal_error`: a fault of ours. The cause goes to the log, the client learns nothing.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::InternalError).cause(cause)
    }

    /// `service_unavailable`, to be tried again in a second.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::ServiceUnavailable).cause(cause).retry_after(BUSY_RETRY_SECONDS)
    }

    /// `bad_request` with a message that names the place.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest).message(message)
    }

    /// `unprocessable` with a message that names the rule.
    pub fn unprocessable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unprocessable).message(message)
    }

    /// The cause and the causes of the cause in one line, for the log.
    pub fn cause_chain(&self) -> Option<String> {
        let first = self.cause.as_deref()?;
        let mut line = first.to_string();
        let mut next = first.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Many crates repeat their source in their own text.
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            next = error.source();
        }
        Some(line)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        self.cause_chain().map_or(Ok(()), |chain| write!(f, " ({chain})"))
    }
}

impl Error for ApiError {}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_alone_brings_its_message() {
        let error = ApiError::from(Code::CampaignNotFound);
        assert_eq!(error.message, "Campaign not found");
        assert!(error.details.is_none() && error.cause.is_none() && error.retry_after.is_none());
    }

    #[test]
    fn the_cause_is_said_once_however_deep_it_is() {
        let inner = std::io::Error::other("disk on fire");
        let error = ApiError::internal(Storage(inner));
        assert_eq!(error.cause_chain().as_deref(), Some("storage failed: disk on fire"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("storage failed")]
    struct Storage(#[source] std::io::Error);
}
