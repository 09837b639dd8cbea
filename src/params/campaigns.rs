//! Bodies and queries of campaigns.

use serde::Deserialize;
use uuid::Uuid;

use super::{
    Record,
    hosts::Hosts,
    sequence_steps::{self, Steps},
    smtp_credentials::Credential,
};
use crate::{
    errors::{ApiError, ApiResult, Code, Failures, Reason},
    http::{
        Prepare,
        json::{double_option, object},
        path::{parse_id, parse_uuid},
    },
    models::{
        HeaderText,
        campaigns::{CampaignChanges, Model, NewCampaign, Pace},
        sequence_steps::NewStep,
        smtp_credentials::{MOST_CREDENTIALS, NewCredential},
        states::CampaignStatus,
    },
    sending::aside::aside,
    state::AppState,
};

/// Longest wait between two sends of a lane, in seconds: a day.
const LONGEST_WAIT: i64 = 86_400;
/// Waits of a campaign that names none, in seconds.
const DEFAULT_WAITS: (i64, i64) = (120, 420);
/// The bounce rate, in percent, above which a credential of a campaign that names none is disabled.
const DEFAULT_THRESHOLD: f64 = 8.0;

/// `{"campaign": {…}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body<T: for<'a> Deserialize<'a>> {
    #[serde(deserialize_with = "object")]
    campaign: T,
}

/// Filters of the list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    status: Option<String>,
    outreach_id: Option<String>,
}

impl Filters {
    /// The status and the outreach. Any UUID is a filter, known or not.
    ///
    /// # Errors
    /// `bad_request` for a status that there is not, and for what is no UUID.
    pub fn parse(&self) -> ApiResult<(Option<CampaignStatus>, Option<Uuid>)> {
        let status = match self.status.as_deref() {
            None => None,
            Some(given) => Some(CampaignStatus::parse(given).ok_or_else(unknown_status)?),
        };
        let outreach = match self.outreach_id.as_deref() {
            None => None,
            Some(given) => Some(
                parse_uuid(given)
                    .ok_or_else(|| ApiError::bad_request("Query parameter `outreach_id` must be a UUID"))?,
            ),
        };
        Ok((status, outreach))
    }
}

fn unknown_status() -> ApiError {
    let known: Vec<_> = CampaignStatus::ALL.iter().map(|status| status.as_str()).collect();
    ApiError::bad_request(format!("Query parameter `status` must be one of {}", known.join(", ")))
}

/// A campaign to be made, as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    name: Option<String>,
    outreach_id: Option<String>,
    min_wait_seconds: Option<i64>,
    max_wait_seconds: Option<i64>,
    verify_email_mx: Option<bool>,
    bounce_rate_threshold: Option<f64>,
    smtp_credentials: Option<Vec<Record<Credential>>>,
    sequence_steps: Option<Steps>,
}

/// A campaign that was checked as far as that goes without the database.
#[derive(Debug)]
pub struct PreparedCampaign {
    /// The outreach that it shall belong to, as it was named.
    outreach_id: Option<String>,
    checked: ApiResult<NewCampaign>,
}

impl PreparedCampaign {
    /// The outreach that must exist before anything else is said.
    ///
    /// # Errors
    /// `outreach_not_found` when it is no id.
    pub fn outreach_id(&self) -> ApiResult<Option<Uuid>> {
        self.outreach_id.as_deref().map(|id| parse_id(id, Code::OutreachNotFound)).transpose()
    }

    /// The campaign itself.
    ///
    /// # Errors
    /// `validation_failed` with everything that was found, in nested records too.
    pub fn parse(self) -> ApiResult<NewCampaign> {
        self.checked
    }
}

impl Prepare for Body<Campaign> {
    type Ready = PreparedCampaign;

    async fn prepare(self, state: &AppState) -> PreparedCampaign {
        let given = self.campaign;
        let named = given.smtp_credentials.iter().flatten().take(MOST_CREDENTIALS);
        let hosts = Hosts::look_up(&state.dialer, named.flat_map(|Record(one)| one.hosts())).await;
        let outreach_id = given.outreach_id.clone();
        let checked = aside(move || given.check(&hosts)).await.flatten();
        PreparedCampaign { outreach_id, checked }
    }
}

impl Campaign {
    fn check(self, hosts: &Hosts) -> ApiResult<NewCampaign> {
        let mut failures = Failures::new();
        let name = check_name(&mut failures, self.name);
        let min = self.min_wait_seconds.unwrap_or(DEFAULT_WAITS.0);
        // A least wait alone may lie above the default of the greatest.
        let max = self.max_wait_seconds.unwrap_or_else(|| DEFAULT_WAITS.1.max(min.min(LONGEST_WAIT)));
        let waits = check_waits(&mut failures, min, max);
        let threshold =
            check_threshold(&mut failures, self.bounce_rate_threshold.unwrap_or(DEFAULT_THRESHOLD));
        let credentials = check_credentials(&mut failures, self.smtp_credentials, hosts);
        let steps = sequence_steps::check(&mut failures, self.sequence_steps);
        let pace = waits.map(|(min_wait_seconds, max_wait_seconds)| Pace {
            min_wait_seconds,
            max_wait_seconds,
            verify_email_mx: self.verify_email_mx.unwrap_or(false),
            bounce_rate_threshold: threshold,
        });
        failures.finish(name.zip(pace).map(|(name, pace)| NewCampaign { name, pace, credentials, steps }))
    }
}

fn check_credentials(
    failures: &mut Failures,
    given: Option<Vec<Record<Credential>>>,
    hosts: &Hosts,
) -> Vec<NewCredential> {
    let given = given.unwrap_or_default();
    if given.is_empty() {
        failures.add("smtp_credentials", Reason::Blank);
    }
    if given.len() > MOST_CREDENTIALS {
        let phrase = format!("has too many entries (maximum is {MOST_CREDENTIALS})");
        failures.add("smtp_credentials", Reason::Other(phrase.into()));
        return Vec::new();
    }
    let mut checked = Vec::with_capacity(given.len());
    for (index, Record(one)) in given.into_iter().enumerate() {
        let place = format!("smtp_credentials[{index}]");
        checked.extend(failures.nested(&place, |failures| one.check(failures, hosts)));
    }
    checked
}

/// Fields of a campaign to be changed, as they came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
pub struct Changes {
    #[serde(default, deserialize_with = "double_option")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    outreach_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    min_wait_seconds: Option<Option<i64>>,
    #[serde(default, deserialize_with = "double_option")]
    max_wait_seconds: Option<Option<i64>>,
    #[serde(default, deserialize_with = "double_option")]
    verify_email_mx: Option<Option<bool>>,
    #[serde(default, deserialize_with = "double_option")]
    bounce_rate_threshold: Option<Option<f64>>,
    #[serde(default, deserialize_with = "double_option")]
    sequence_steps: Option<Option<Steps>>,
}

/// Changes whose templates are compiled once, before anything is locked.
#[derive(Debug)]
pub struct PreparedChanges {
    given: Changes,
    steps: ApiResult<CheckedSteps>,
}

/// The steps, where some are given, and what is wrong with them.
type CheckedSteps = (Option<Vec<NewStep>>, Failures);

impl Prepare for Body<Changes> {
    type Ready = PreparedChanges;

    async fn prepare(self, _: &AppState) -> PreparedChanges {
        let mut given = self.campaign;
        let Some(steps) = given.sequence_steps.take() else {
            return PreparedChanges { given, steps: Ok((None, Failures::new())) };
        };
        let check = move || {
            let mut failures = Failures::new();
            (Some(sequence_steps::check(&mut failures, steps)), failures)
        };
        PreparedChanges { given, steps: aside(check).await }
    }
}

impl PreparedChanges {
    /// The outreach that it is to belong to (`Some(None)`: to none).
    ///
    /// # Errors
    /// `outreach_not_found` when it is no id.
    pub fn outreach_id(&self) -> ApiResult<Option<Option<Uuid>>> {
        let Some(given) = self.given.outreach_id.as_ref() else { return Ok(None) };
        given.as_deref().map(|id| parse_id(id, Code::OutreachNotFound)).transpose().map(Some)
    }

    /// Checks them against the campaign as it is: the waits hold together.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self, row: &Model) -> ApiResult<CampaignChanges> {
        let outreach_id = self.outreach_id()?;
        let (given, (steps, step_failures)) = (self.given, self.steps?);
        let mut failures = Failures::new();
        let name = given.name.map(|name| check_name(&mut failures, name));
        let min =
            required(&mut failures, "min_wait_seconds", given.min_wait_seconds, row.min_wait_seconds.into());
        let max =
            required(&mut failures, "max_wait_seconds", given.max_wait_seconds, row.max_wait_seconds.into());
        let waits = min.zip(max).and_then(|(min, max)| check_waits(&mut failures, min, max));
        let mx = required(&mut failures, "verify_email_mx", given.verify_email_mx, row.verify_email_mx);
        let threshold = required(
            &mut failures,
            "bounce_rate_threshold",
            given.bounce_rate_threshold,
            row.bounce_rate_threshold,
        )
        .map(|percent| check_threshold(&mut failures, percent));
        failures.append(step_failures);
        let pace = waits.zip(mx.zip(threshold)).map(|(waits, (mx, threshold))| Pace {
            min_wait_seconds: waits.0,
            max_wait_seconds: waits.1,
            verify_email_mx: mx,
            bounce_rate_threshold: threshold,
        });
        let name = name.flatten();
        failures.finish(pace.map(|pace| CampaignChanges { name, outreach_id, pace, steps }))
    }
}

/// A field that may be left out but not emptied.
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
fn required<T>(failures: &mut Failures, field: &str, given: Option<Option<T>>, current: T) -> Option<T> {
    match given {
        None => Some(current),
        Some(None) => {
            failures.add(field, Reason::Blank);
            None
        }
        Some(value) => value,
    }
}

fn check_name(failures: &mut Failures, given: Option<String>) -> Option<HeaderText> {
    failures.parsed("name", HeaderText::parse(&given.unwrap_or_default(), HeaderText::NAME_CHARS))
}

fn check_waits(failures: &mut Failures, min: i64, max: i64) -> Option<(i32, i32)> {
    let least = failures.range("min_wait_seconds", min, 0, LONGEST_WAIT);
    let lower = if least { min } else { 0 };
    failures.range("max_wait_seconds", max, lower, LONGEST_WAIT);
    i32::try_from(min).ok().zip(i32::try_from(max).ok())
}

fn check_threshold(failures: &mut Failures, percent: f64) -> f64 {
    if percent <= 0.0 {
        failures.add("bounce_rate_threshold", Reason::GreaterThan(0));
    } else if percent > 100.0 {
        failures.add("bounce_rate_threshold", Reason::AtMost(100));
    }
    percent
}
