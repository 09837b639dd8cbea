//! Body of `POST /billing/checkout`.

use serde::Deserialize;

use crate::errors::{ApiResult, Failures};

/// What is to be bought.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkout {
    plan_slug: Option<String>,
}

impl Checkout {
    /// The plan. Whether there is one of that name is asked elsewhere.
    ///
    /// # Errors
    /// `validation_failed` where none is named.
    pub fn plan_slug(self) -> ApiResult<String> {
        let mut failures = Failures::new();
        let slug = self.plan_slug.unwrap_or_default();
        failures.text("plan_slug", &slug, 255);
        failures.finish(Some(slug))
    }
}
