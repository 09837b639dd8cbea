//! The one place where an error becomes an HTTP answer: its body, its headers and its log line.
//!
//! `http::envelope` uses the same rendering for answers that nobody of ours made.

use std::sync::OnceLock;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{ApiError, Code};

/// Where the pages on the codes are, unless the operator says otherwise.
const DEFAULT_DOCS_BASE: &str = "https://docs.ampout.dev/errors";

/// `Retry-After` of a `service_unavailable` that names no time of its own, in seconds.
const DEFAULT_RETRY_SECONDS: u32 = 1;

static DOCS_BASE: OnceLock<String> = OnceLock::new();

/// Sets the base of every error's `type` (`ERROR_DOCS_BASE`), once per process, before the first
/// request; a later call changes nothing.
pub fn set_docs_base(base: &str) {
    DOCS_BASE.get_or_init(|| base.trim_end_matches('/').to_owned());
}

/// The base of every error's `type`, without a slash at the end.
pub fn docs_base() -> &'static str {
    DOCS_BASE.get().map_or(DEFAULT_DOCS_BASE, String::as_str)
}

/// Marks an answer whose body is already an error of ours, with its code. An answer of 400 and
/// above without the mark is rendered anew; a replayed one therefore needs the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendered(pub Code);

#[derive(Serialize)]
struct Envelope<'a> {
    code: &'static str,
    r#type: String,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
}

impl ApiError {
    /// The body of the answer, as JSON.
    fn to_body(&self) -> Vec<u8> {
        let internal = self.code == Code::InternalError;
        let envelope = Envelope {
            code: self.code.as_str(),
            r#type: format!("{}/{}", docs_base(), self.code.as_str()),
            message: if internal { self.code.default_message() } else { &self.message },
            details: self.details.as_ref().filter(|_| !internal),
        };
        // Strings and JSON values always serialise.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// Logs a fault of ours with its cause. A refusal needs no line of its own: the access line
    /// carries its code. The request's span adds the request id.
    fn log(&self) {
        if self.code.status() >= 500 {
            let cause = self.cause_chain().unwrap_or_default();
            tracing::error!(code = self.code.as_str(), cause, "request failed");
        }
    }

    const fn retry_seconds(&self) -> Option<u32> {
        match (self.retry_after, self.code) {
            (None, Code::ServiceUnavailable) => Some(DEFAULT_RETRY_SECONDS),
            (given, _) => given,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(self.to_body()));
        *response.status_mut() = status;
        response.extensions_mut().insert(Rendered(self.code));
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| {
            headers.insert(name, value);
        };
        set(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code == Code::Unauthorized {
            // RFC 9110, section 11.6.1: a 401 names the scheme.
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_seconds() {
            set(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::errors::{Failures, Reason};

    fn body(error: &ApiError) -> String {
        String::from_utf8_lossy(&error.to_body()).into_owned()
    }

    #[test]
    fn the_samples_of_the_contract_are_met_byte_for_byte() {
        assert_eq!(
            body(&Code::CampaignNotFound.into()),
            r#"{"code":"campaign_not_found","type":"https://docs.ampout.dev/errors/campaign_not_found","message":"Campaign not found"}"#
        );
        let mut failures = Failures::new();
        failures.add("name", Reason::Blank);
        failures.add("min_wait_seconds", Reason::AtLeast(0));
        assert_eq!(
            body(&failures.into()),
            r#"{"code":"validation_failed","type":"https://docs.ampout.dev/errors/validation_failed","message":"Name can't be blank, Min wait seconds must be greater than or equal to 0","details":{"errors":[{"field":"name","message":"can't be blank"},{"field":"min_wait_seconds","message":"must be greater than or equal to 0"}]}}"#
        );
        assert_eq!(
            body(&ApiError::new(Code::PlanLimitReached).details(json!({
                "current_period_sends": 5000, "monthly_limit": 5000, "plan_slug": "hobby"
            }))),
            r#"{"code":"plan_limit_reached","type":"https://docs.ampout.dev/errors/plan_limit_reached","message":"Plan send limit reached for the current period","details":{"current_period_sends":5000,"monthly_limit":5000,"plan_slug":"hobby"}}"#
        );
        assert_eq!(
            body(&ApiError::new(Code::RateLimited).details(json!({ "limit": 60, "period": 60 }))),
            r#"{"code":"rate_limited","type":"https://docs.ampout.dev/errors/rate_limited","message":"Too many requests. Slow down and retry after the period resets.","details":{"limit":60,"period":60}}"#
        );
    }

    #[test]
    fn nothing_internal_is_shown() {
        let error =
            ApiError::internal("password hunter2").message("hunter2").details(json!({ "sql": "hunter2" }));
        assert!(!body(&error).contains("hunter2"));
        assert!(!body(&ApiError::unavailable("hunter2")).contains("hunter2"));
    }

    #[test]
    fn every_code_answers_with_its_status_and_headers() {
        for &code in Code::ALL {
            let response = ApiError::new(code).into_response();
            assert_eq!(response.status().as_u16(), code.status());
            let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
            assert_eq!(header(header::CONTENT_TYPE), Some("application/json"));
            assert_eq!(header(header::WWW_AUTHENTICATE), (code == Code::Unauthorized).then_some("Bearer"));
            assert_eq!(header(header::RETRY_AFTER), (code == Code::ServiceUnavailable).then_some("1"));
        }
    }
}
