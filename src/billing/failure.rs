//! Why Stripe did not do something, and what a client is told of it: none of Stripe's words.

use stripe::StripeError;

use crate::errors::{ApiError, Code};

/// When a client may ask again while Stripe is away, in seconds.
const ASK_AGAIN: u32 = 10;

/// Why Stripe did not do something. None of it is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StripeFailure {
    /// It understood, and will not.
    #[error("Stripe refused with {status}: {reason}")]
    Refused {
        /// Its status.
        status: u16,
        /// The kind of its error, and the parameter at fault.
        reason: String,
    },
    /// It broke, and said so. Whether it did what it was asked, nobody knows, and under the same idempotency key it says
    /// nothing else for a day. <https://docs.stripe.com/api/idempotent_requests>
    #[error("Stripe broke: {0}")]
    Broke(String),
    /// It cannot be reached, is busy, does not know us, or answered something that cannot be read.
    #[error("Stripe cannot be used: {0}")]
    Away(String),
}

impl StripeFailure {
    pub(super) fn of(error: StripeError) -> Self {
        match error {
            StripeError::Stripe(error, status) => {
                let code = error.code.as_ref().map_or("no code", |code| code.as_str());
                let parameter = error.param.as_deref().unwrap_or("none");
                let reason = format!("{}, {code}, parameter: {parameter}", error.type_.as_str());
                match status {
                    // 401 and 403 are about our key: the operator's to mend, not the client's.
                    400 | 402 | 404 => Self::Refused { status, reason },
                    500.. => Self::Broke(format!("{status}: {reason}")),
                    _ => Self::Away(format!("{status}: {reason}")),
                }
            }
            other @ (StripeError::JSONDeserialize(_)
            | StripeError::ClientError(_)
            | StripeError::ConfigError(_)
            | StripeError::Timeout) => Self::Away(other.to_string()),
        }
    }
}

impl From<StripeFailure> for ApiError {
    fn from(failure: StripeFailure) -> Self {
        match &failure {
            StripeFailure::Refused { .. } => {
                tracing::warn!(%failure, "a request of an account was refused");
                Self::unprocessable("The payment provider refused the request").cause(failure)
            }
            StripeFailure::Broke(_) | StripeFailure::Away(_) => Self::new(Code::ServiceUnavailable)
                .message("The payment provider cannot be reached. Try again later.")
                .retry_after(ASK_AGAIN)
                .cause(failure),
        }
    }
}
