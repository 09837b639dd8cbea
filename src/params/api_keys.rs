//! Body of `POST /api_keys`.

use serde::Deserialize;

use crate::{
    errors::{ApiResult, Failures, Reason},
    models::states::ClientKind,
};

/// A key to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    label: Option<String>,
    client_kind: Option<String>,
}

impl NewApiKey {
    /// The label and kind.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self) -> ApiResult<(String, ClientKind)> {
        let mut failures = Failures::new();
        let label = self.label.unwrap_or_default();
        failures.text("label", &label, 255);
        let client_kind = match self.client_kind.as_deref() {
            None => Some(ClientKind::Direct),
            Some(given) => ClientKind::parse(given),
        };
        if client_kind.is_none() {
            failures.add("client_kind", Reason::NotInList);
        }
        failures.finish(client_kind.map(|client_kind| (label, client_kind)))
    }
}
