//! Works on an event of Stripe: looks at what it is about, and has the account follow. Run twice, it ends the same.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, prelude::BackgroundWorker};
use serde::{Deserialize, Serialize};

use crate::{billing::inbound, state::AppState};

/// The worker.
pub struct ApplyStripeEvent {
    ctx: AppContext,
}

/// Which.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Args {
    event_id: String,
}

#[async_trait]
impl BackgroundWorker<Args> for ApplyStripeEvent {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    fn class_name() -> String {
        inbound::WORKING.to_owned()
    }

    async fn perform(&self, args: Args) -> Result<()> {
        Ok(inbound::apply(&AppState::of(&self.ctx)?, &args.event_id).await?)
    }
}
