//! Previews, forecasts, test sends and checks: what a campaign would do, and what trying it did.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    net::VerifyError,
    sending::{forecast, preview::Addressee, render::Rendered, test_send, verify},
};

/// A campaign as a contact would get it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Preview {
    contact: PreviewContact,
    steps: Vec<PreviewStep>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PreviewContact {
    id: Option<Uuid>,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    #[schema(value_type = Object)]
    custom: Value,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PreviewStep {
    position: i32,
    subject: String,
    body_html: String,
    body_text: String,
    delay_minutes: i32,
}

impl Preview {
    /// Shows rendered steps, each with its position and delay.
    pub fn new(to: Addressee, steps: Vec<(i32, i32, Rendered)>) -> Self {
        let Addressee { id, email, first_name, last_name, company, custom } = to;
        let contact = PreviewContact { id, email, first_name, last_name, company, custom: custom.into() };
        let step = |(position, delay_minutes, rendered)| {
            let Rendered { subject, html, text } = rendered;
            PreviewStep { position, subject, body_html: html, body_text: text, delay_minutes }
        };
        Self { contact, steps: steps.into_iter().map(step).collect() }
    }
}

/// What would go out when.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Forecast {
    pending: u64,
    total_sends: u64,
    first_send_at: Option<Timestamp>,
    estimated_finish_at: Option<Timestamp>,
    days: Vec<ForecastDay>,
    plan_limit_reached_on: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ForecastDay {
    date: String,
    sends: u64,
    by_credential: Vec<ForecastLane>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ForecastLane {
    smtp_credential_id: Uuid,
    sends: u64,
}

impl From<forecast::Forecast> for Forecast {
    fn from(forecast: forecast::Forecast) -> Self {
        let forecast::Forecast {
            pending,
            total_sends,
            first_send_at,
            finish_at,
            days,
            plan_limit_reached_on,
        } = forecast;
        let lane = |(smtp_credential_id, sends)| ForecastLane { smtp_credential_id, sends };
        let day = |day: forecast::Day| ForecastDay {
            date: date(day.day),
            sends: day.by_lane.iter().map(|lane| lane.1).sum(),
            by_credential: day.by_lane.into_iter().map(lane).collect(),
        };
        Self {
            pending,
            total_sends,
            first_send_at,
            estimated_finish_at: finish_at,
            days: days.into_iter().map(day).collect(),
            plan_limit_reached_on: plan_limit_reached_on.map(date),
        }
    }
}

/// A UTC day as `2026-04-27`.
fn date(day: i64) -> String {
    Timestamp::from_day(day).to_datetime().date_naive().to_string()
}

/// What became of test messages.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TestResults {
    results: Vec<TestResult>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TestResult {
    email: String,
    position: i32,
    status: &'static str,
    error: Option<String>,
}

impl From<Vec<test_send::Sent>> for TestResults {
    fn from(sent: Vec<test_send::Sent>) -> Self {
        let result = |one: test_send::Sent| {
            let test_send::Sent { email, position, error } = one;
            let status = if error.is_none() { "sent" } else { "failed" };
            TestResult { email, position, status, error }
        };
        Self { results: sent.into_iter().map(result).collect() }
    }
}

/// What checking a credential's logins found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Verified {
    smtp: Check,
    /// Null where the credential has no mailbox.
    imap: Option<Check>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Check {
    ok: bool,
    error: Option<&'static str>,
}

impl From<Result<(), VerifyError>> for Check {
    fn from(checked: Result<(), VerifyError>) -> Self {
        Self { ok: checked.is_ok(), error: checked.err().map(VerifyError::as_str) }
    }
}

impl From<verify::Verified> for Verified {
    fn from(verified: verify::Verified) -> Self {
        let verify::Verified { smtp, imap } = verified;
        Self { smtp: smtp.into(), imap: imap.map(Check::from) }
    }
}
