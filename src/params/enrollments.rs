//! Bodies and filters of enrolling, dispatching and what comes of them.

use serde::Deserialize;
use uuid::Uuid;

use crate::{
    errors::{ApiError, ApiResult, Code, Failures, Reason},
    http::path::parse_id,
    models::{
        deliveries::Resolution,
        enrollments::OneContact,
        states::{DeliveryState, EnrollmentStatus},
    },
};

const DEFAULT_BATCH_SIZE: i32 = 50;
const LARGEST_BATCH: i64 = 100_000;
/// The highest number that a client may give a batch: those that are made by themselves come above it.
pub const MOST_BATCH_NUMBER: i32 = 1_000_000_000;

/// `POST /campaigns/:campaign_id/enroll`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enroll {
    contact_import_id: Option<String>,
    batch_size: Option<i64>,
}

impl Enroll {
    /// The import, where one is named.
    ///
    /// # Errors
    /// `contact_import_not_found` for what is no id.
    pub fn import_id(&self) -> ApiResult<Option<Uuid>> {
        named(self.contact_import_id.as_deref(), Code::ContactImportNotFound)
    }

    /// The import and the size of batches.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(&self) -> ApiResult<(Uuid, i32)> {
        let mut failures = Failures::new();
        let import = self.import_id()?;
        if import.is_none() {
            failures.add("contact_import_id", Reason::Blank);
        }
        let size = self.batch_size.unwrap_or_else(|| DEFAULT_BATCH_SIZE.into());
        failures.range("batch_size", size, 1, LARGEST_BATCH);
        failures.finish(import.zip(i32::try_from(size).ok()))
    }
}

/// `POST /campaigns/:campaign_id/enroll_contact`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollContact {
    contact_id: Option<String>,
    batch_number: Option<i64>,
    priority: Option<bool>,
}

impl EnrollContact {
    /// The contact, where one is named.
    ///
    /// # Errors
    /// `contact_not_found` for what is no id.
    pub fn contact_id(&self) -> ApiResult<Option<Uuid>> {
        named(self.contact_id.as_deref(), Code::ContactNotFound)
    }

    /// The contact and its place.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(&self) -> ApiResult<OneContact> {
        let mut failures = Failures::new();
        let contact = self.contact_id()?;
        if contact.is_none() {
            failures.add("contact_id", Reason::Blank);
        }
        let number = batch_number(&mut failures, self.batch_number.unwrap_or_default(), MOST_BATCH_NUMBER);
        let priority = self.priority.unwrap_or_default();
        let place = contact.zip(number);
        failures.finish(place.map(|(contact_id, batch_number)| OneContact {
            contact_id,
            batch_number,
            priority,
        }))
    }
}

/// `POST /campaigns/:id/dispatch`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    batch_number: Option<i64>,
}

impl Dispatch {
    /// The batch, or all.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(&self) -> ApiResult<Option<i32>> {
        let mut failures = Failures::new();
        let number = self.batch_number.map(|given| batch_number(&mut failures, given, i32::MAX));
        failures.finish(Some(number.flatten()))
    }
}

/// `POST /campaigns/:id/deliveries/:delivery_id/resolve`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    #[serde(rename = "as")]
    settled_as: Option<String>,
}

impl Resolve {
    /// What became, or is to become, of the message.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(&self) -> ApiResult<Resolution> {
        match self.settled_as.as_deref().map(str::trim) {
            Some("sent") => Ok(Resolution::Sent),
            Some("resend") => Ok(Resolution::Resend),
            None | Some("") => Err(Failures::one("as", Reason::Blank)),
            Some(_) => Err(Failures::one("as", Reason::NotInList)),
        }
    }
}

/// Filters of the enrollments of a campaign.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentFilters {
    status: Option<String>,
    batch_number: Option<i32>,
}

impl EnrollmentFilters {
    /// Status and batch number.
    ///
    /// # Errors
    /// `bad_request` for a status that there is not.
    pub fn parse(&self) -> ApiResult<(Option<EnrollmentStatus>, Option<i32>)> {
        let status = self.status.as_deref().map(|given| {
            let words = EnrollmentStatus::ALL.iter().map(|status| status.as_str());
            EnrollmentStatus::parse(given).ok_or_else(|| not_one_of("status", words))
        });
        Ok((status.transpose()?, self.batch_number))
    }
}

/// Filters of the deliveries of a campaign.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryFilters {
    state: Option<String>,
}

impl DeliveryFilters {
    /// The states that are shown under the word given.
    ///
    /// # Errors
    /// `bad_request` for a word that is shown for none.
    pub fn parse(&self) -> ApiResult<Option<Vec<DeliveryState>>> {
        let Some(given) = self.state.as_deref() else { return Ok(None) };
        let states: Vec<_> =
            DeliveryState::ALL.iter().copied().filter(|state| state.shown() == given).collect();
        if states.is_empty() {
            let shown = DeliveryState::ALL.iter().filter(|state| state.shown() == state.as_str());
            return Err(not_one_of("state", shown.map(|state| state.as_str())));
        }
        Ok(Some(states))
    }
}

fn named(id: Option<&str>, missing: Code) -> ApiResult<Option<Uuid>> {
    match id.map(str::trim) {
        None | Some("") => Ok(None),
        Some(given) => parse_id(given, missing).map(Some),
    }
}

fn batch_number(failures: &mut Failures, given: i64, most: i32) -> Option<i32> {
    failures.range("batch_number", given, 0, most.into());
    i32::try_from(given).ok()
}

fn not_one_of<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> ApiError {
    let words: Vec<_> = words.collect();
    ApiError::bad_request(format!("Query parameter `{name}` must be one of {}", words.join(", ")))
}
