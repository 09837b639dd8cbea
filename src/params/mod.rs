//! Request bodies, one file per resource: what is taken, and how it becomes values that need no second look.

pub mod api_keys;
pub mod billing;
pub mod campaigns;
pub mod contact_imports;
pub mod contacts;
mod custom;
pub mod enrollments;
mod hosts;
pub mod outreaches;
pub mod sequence_steps;
pub mod signup;
pub mod smtp_credentials;
pub mod test_send;
pub mod usage;
pub mod webhooks;

use serde::Deserialize;

/// One record of a list in a body: an object, never an array.
#[derive(Debug, Deserialize)]
#[serde(transparent, bound = "T: Deserialize<'de>")]
struct Record<T>(#[serde(deserialize_with = "crate::http::json::object")] T);
