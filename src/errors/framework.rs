//! Errors of the framework become ours. Their texts are for the log: a framework's message may
//! name files, SQL or the rejected value.

use loco_rs::{model::ModelError, validation::ModelValidationErrors};

use super::{ApiError, Code, Failures, Reason};

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum is non-exhaustive; whatever it grows is a fault of ours"
        )]
        match error {
            ModelError::EntityNotFound => Self::new(Code::NotFound),
            ModelError::Validation(errors) => errors.into(),
            ModelError::DbErr(error) => error.into(),
            ModelError::Any(error) => unwrap_own(error),
            other => Self::internal(other),
        }
    }
}

impl From<loco_rs::Error> for ApiError {
    fn from(error: loco_rs::Error) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum is non-exhaustive; whatever it grows is a fault of ours"
        )]
        match error {
            // RUST_BACKTRACE=1 wraps errors.
            loco_rs::Error::WithBacktrace { inner, .. } => (*inner).into(),
            loco_rs::Error::Model(error) => error.into(),
            loco_rs::Error::DB(error) => error.into(),
            loco_rs::Error::Validation(errors) => errors.into(),
            loco_rs::Error::Any(error) => unwrap_own(error),
            loco_rs::Error::NotFound => Self::new(Code::NotFound),
            loco_rs::Error::Unauthorized(_) => Self::new(Code::Unauthorized),
            loco_rs::Error::BadRequest(_) | loco_rs::Error::JsonRejection(_) => Self::new(Code::BadRequest),
            other => Self::internal(other),
        }
    }
}

impl From<ModelValidationErrors> for ApiError {
    fn from(invalid: ModelValidationErrors) -> Self {
        let mut fields: Vec<_> = invalid.errors.into_keys().collect();
        fields.sort_unstable();
        let mut failures = Failures::new();
        for field in fields {
            failures.add(&field, Reason::Invalid);
        }
        failures.into()
    }
}

impl From<ApiError> for loco_rs::Error {
    fn from(error: ApiError) -> Self {
        Self::Any(Box::new(error))
    }
}

/// An error of ours that went through the framework comes out as it went in.
fn unwrap_own(error: Box<dyn std::error::Error + Send + Sync>) -> ApiError {
    error.downcast::<ApiError>().map_or_else(ApiError::internal, |own| *own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_survives_the_framework() {
        let wrapped: loco_rs::Error = ApiError::new(Code::CampaignNotPaused).into();
        assert_eq!(ApiError::from(wrapped.bt()).code, Code::CampaignNotPaused);
    }

    #[test]
    fn the_backtrace_wrapper_is_looked_through() {
        let wrapped = loco_rs::Error::WithBacktrace {
            inner: Box::new(loco_rs::Error::Model(ModelError::EntityNotFound)),
            backtrace: Box::new(std::backtrace::Backtrace::disabled()),
        };
        assert_eq!(ApiError::from(wrapped).code, Code::NotFound);
    }

    #[test]
    fn texts_of_the_framework_stay_in_the_log() {
        let error = ApiError::from(loco_rs::Error::string("secret path"));
        assert_eq!(error.code, Code::InternalError);
        assert_eq!(error.message, "Internal server error");
        assert_eq!(error.cause_chain().as_deref(), Some("secret path"));
    }
}
