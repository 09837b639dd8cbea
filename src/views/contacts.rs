//! Contacts as clients see them.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        contacts::{InCampaign, Shown},
        states::EnrollmentStatus,
    },
};

/// A contact in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Contact {
    id: Uuid,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    #[schema(value_type = Object)]
    custom: Value,
    unsubscribed_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Shown> for Contact {
    fn from(row: Shown) -> Self {
        let Shown { id, email, first_name, last_name, company, custom, unsubscribed_at, created_at } = row;
        // None are stored as null, and shown as the empty object that they are.
        let custom = custom.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Self { id, email, first_name, last_name, company, custom, unsubscribed_at, created_at }
    }
}

/// A contact on its own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContactDetail {
    #[serde(flatten)]
    contact: Contact,
    enrollments: Vec<ContactEnrollment>,
}

impl ContactDetail {
    /// Shows a contact with its newest enrollments.
    pub fn new(row: Shown, enrollments: Vec<InCampaign>) -> Self {
        Self {
            contact: row.into(),
            enrollments: enrollments.into_iter().map(ContactEnrollment::from).collect(),
        }
    }
}

/// One campaign that the contact is in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ContactEnrollment {
    id: Uuid,
    campaign_id: Uuid,
    status: EnrollmentStatus,
    batch_number: i32,
    sent_at: Option<Timestamp>,
}

impl From<InCampaign> for ContactEnrollment {
    fn from(row: InCampaign) -> Self {
        let InCampaign { id, campaign_id, status, batch_number, sent_at } = row;
        Self { id, campaign_id, status, batch_number, sent_at }
    }
}
