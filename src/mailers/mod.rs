//! Mail from the operator to the owners of accounts: a welcome, and what they must know to keep on sending.
//!
//! A mail is stored as a job in the transaction that caused it ([`enqueue`]), so that it goes out if and only if that
//! commits, and is sent by `workers::SendSystemMail`, which the queue tries again while the relay is away. Campaigns are
//! not sent here: see `sending`. Each mail is a folder with a subject, a text and a page, as Loco has them.

mod mail;
mod relay;
mod templates;

use async_trait::async_trait;
use loco_rs::{
    Error, Result,
    app::AppContext,
    mailer::{Email, EmailHeaders, Mailer},
};
use uuid::Uuid;

pub(crate) use mail::SENDING;
pub use mail::{Envelope, Mail, enqueue};
pub use relay::{Relay, RelayError, RelaySettings};
pub use templates::{Templates, TemplatesError};

use crate::{jobs::Hopeless, models::accounts::Account, state::AppState};

/// Sends what [`enqueue`] stored. Loco's own way to its transport is not used: it would go on without TLS or insist on it,
/// where we do what the operator allows, and it has no time limit.
pub struct SystemMailer;

#[async_trait]
impl Mailer for SystemMailer {
    /// Through the relay of `SYSTEM_SMTP_URL`. Where none is set there is nothing to do.
    async fn deliver_now(ctx: &AppContext, email: &Email) -> Result<()> {
        match &AppState::of(ctx)?.relay {
            Some(relay) => relay.deliver(email).await.map_err(|error| match error.to_string() {
                words if error.is_lasting() => Error::wrap(Hopeless(words)),
                words => Error::Message(words),
            }),
            None => Ok(()),
        }
    }
}

impl SystemMailer {
    /// Sends a mail to the owner of an account. `id` is the same at every try and names the message, so that a mail box
    /// can tell a second copy.
    ///
    /// # Errors
    /// When the relay does not take it.
    pub async fn send(ctx: &AppContext, id: Uuid, to: &Account, mail: &Mail) -> Result<()> {
        let state = AppState::of(ctx)?;
        let letter = state
            .mail_templates
            .render(mail, to.id, &state.settings.public_url)
            .map_err(|error| Error::Message(error.to_string()))?;
        if state.relay.is_none() {
            // It holds no secret, and no address of a person but those that the account sends from.
            tracing::info!(account = %to.id, mail = mail.name(), subject = letter.subject, text = letter.text, "system mail");
        }
        let message_id = state.relay.as_ref().map(|relay| relay.message_id(id));
        let email = Email {
            to: to.email.clone(),
            subject: letter.subject,
            text: letter.text,
            html: letter.html,
            headers: Some(EmailHeaders { message_id, ..EmailHeaders::default() }),
            ..Email::default()
        };
        Self::deliver_now(ctx, &email).await
    }
}
