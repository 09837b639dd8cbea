//! How often something is asked of Stripe, and under which idempotency key.
//!
//! Where no answer came, the next try has the same key: Stripe does it once, and answers what it did. Where Stripe
//! answered that it broke, it keeps that answer, and the next try has a key of its own. Such a key is never the same twice,
//! so that whoever begins anew within a day gets behind the answers that were kept meanwhile.

use std::time::Duration;

use stripe::{IdempotencyKey, RequestStrategy};

use super::failure::StripeFailure;
use crate::clock::new_id;

/// How often something is tried.
const TRIES: u32 = 3;
/// The wait before the second try; it doubles.
const WAIT: Duration = Duration::from_millis(300);

/// The tries of one thing.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    /// The key of the first, where something is made.
    first: Option<String>,
    /// The key of the next.
    key: Option<String>,
}

impl Tries {
    /// Those of something that is made, the first of them under this key.
    pub(super) fn under(key: &str) -> Self {
        let key = Some(format!("ampout-{key}"));
        Self { failed: 0, first: key.clone(), key }
    }

    /// How the next is made.
    pub(super) fn strategy(&self) -> Result<RequestStrategy, StripeFailure> {
        let Some(key) = &self.key else { return Ok(RequestStrategy::Once) };
        let key = IdempotencyKey::new(key).map_err(|error| StripeFailure::Away(error.to_string()))?;
        Ok(RequestStrategy::Idempotent(key))
    }

    /// Whether there is another after this failure; waits until it is time for it.
    pub(super) async fn another(&mut self, failure: &StripeFailure) -> bool {
        match failure {
            StripeFailure::Refused { .. } => return false,
            StripeFailure::Broke(_) => {
                self.key = self.first.as_ref().map(|key| format!("{key}-{}", new_id()));
            }
            StripeFailure::Away(_) => {}
        }
        self.failed += 1;
        if self.failed >= TRIES {
            return false;
        }
        tracing::info!(%failure, tries = self.failed, "Stripe is asked again");
        tokio::time::sleep(WAIT * 2_u32.pow(self.failed - 1)).await;
        true
    }
}
