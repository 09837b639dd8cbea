//! Sends a mail to the owner of an account. Run twice it mails twice, under the same `Message-ID`: SMTP has no better.

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, prelude::BackgroundWorker};

use crate::{
    errors::Code,
    mailers::{Envelope, SENDING, SystemMailer},
    models::accounts,
    state::AppState,
    tenancy::{Conn, SystemScope},
};

/// The worker.
pub struct SendSystemMail {
    ctx: AppContext,
}

#[async_trait]
impl BackgroundWorker<Envelope> for SendSystemMail {
    fn build(ctx: &AppContext) -> Self {
        Self { ctx: ctx.clone() }
    }

    fn class_name() -> String {
        SENDING.to_owned()
    }

    async fn perform(&self, envelope: Envelope) -> Result<()> {
        let Envelope { id, account_id, mail } = envelope;
        let pool = AppState::of(&self.ctx)?.db.pool().clone();
        let scope = SystemScope::new(Conn::Pool(pool)).account(account_id);
        match accounts::current(&scope).await {
            // Nobody is there to be told.
            Err(error) if error.code == Code::Unauthorized => Ok(()),
            owner => SystemMailer::send(&self.ctx, id, &owner?, &mail).await,
        }
    }
}
