//! Response bodies, one file per resource. Rows are destructured whole, so that a new column must be decided on.

pub mod account;
pub mod api_keys;
pub mod billing;
pub mod campaigns;
pub mod contact_imports;
pub mod contacts;
pub mod deliveries;
pub mod docs;
pub mod enrollments;
pub mod outreaches;
pub mod previews;
pub mod signup;
pub mod smtp_credentials;
pub mod status;
pub mod unsubscribe;
pub mod usage;
pub mod webhooks;

use serde::Serialize;
use uuid::Uuid;

/// What a delete answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Gone {
    id: Uuid,
    status: &'static str,
}

impl Gone {
    /// The row is deleted.
    pub const fn deleted(id: Uuid) -> Self {
        Self { id, status: "deleted" }
    }

    /// The key is revoked.
    pub const fn revoked(id: Uuid) -> Self {
        Self { id, status: "revoked" }
    }
}
