//! Makes the Stripe customer of an account that signed up. Run twice, it makes one.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{billing::customers, state::AppState};

/// The worker.
pub struct MakeStripeCustomer {
    ctx: AppContext,
}

/// Which.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Args {
    account_id: Uuid,
}

#[async_trait]
impl BackgroundWorker<Args> for MakeStripeCustomer {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    fn class_name() -> String {
        customers::MAKING.to_owned()
    }

    async fn perform(&self, args: Args) -> Result<()> {
        let state = AppState::of(&self.ctx)?;
        if let Some(stripe) = &state.stripe {
            customers::make(&state, stripe, args.account_id).await?;
        }
        Ok(())
    }
}
