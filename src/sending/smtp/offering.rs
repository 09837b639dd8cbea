//! The first half of a message: MAIL and RCPT, which ask the server for a recipient. Nothing of the message is sent here.
//!
//! They go out in one write where the server offers PIPELINING (RFC 2920), with RSET before them where the last one came to
//! nothing; or went out behind the last message already, so that only their replies are read.

use tokio::time::Instant;

use super::outcome::{Broken, OfferError, Phase};
use super::reply::Reply;
use super::{Envelope, Offered, SmtpConnection};

impl SmtpConnection {
    /// MAIL and RCPT. If they went out behind the last final dot already, only their replies are read.
    ///
    /// # Errors
    /// The server's refusal, or the end of the conversation. Nothing of the message was sent.
    pub async fn offer(&mut self, envelope: &Envelope<'_>) -> Result<Offered, OfferError> {
        if self.broken {
            return Err(Broken::Closed.into());
        }
        let now = Instant::now();
        let until = self.first_until.take().filter(|until| *until > now);
        let until = until.unwrap_or(now + self.timeouts.before_data);
        let offered = self.offer_until(envelope, until).await;
        if let Err(error) = &offered {
            self.note_refusal(error);
        }
        offered
    }

    async fn offer_until(&mut self, envelope: &Envelope<'_>, until: Instant) -> Result<Offered, OfferError> {
        if let Some(ahead) = self.ahead.take() {
            let offered = self.read_offer(until).await;
            // Some servers keep the transaction of a refused chunk for RSET.
            if ahead.is(envelope) && !is_out_of_turn(&offered) {
                return offered;
            }
            self.needs_reset = true;
            if self.is_over(&offered) {
                return offered;
            }
        }
        let [mail, rcpt] = self.commands(envelope).ok_or(OfferError::BadAddress)?;
        if self.features.pipelining {
            self.offer_at_once(&mail, &rcpt, until).await
        } else {
            self.offer_in_turn(&mail, &rcpt, until).await
        }
    }

    async fn offer_at_once(&mut self, mail: &str, rcpt: &str, until: Instant) -> Result<Offered, OfferError> {
        if !self.wire.is_in_step() {
            return Err(Broken::Protocol.into());
        }
        let reset = std::mem::take(&mut self.needs_reset);
        let group = format!("{}{mail}{rcpt}", if reset { "RSET\r\n" } else { "" });
        self.write(&group, until).await?;
        if reset {
            was_reset(self.read(until).await?)?;
        }
        self.read_offer(until).await
    }

    async fn offer_in_turn(&mut self, mail: &str, rcpt: &str, until: Instant) -> Result<Offered, OfferError> {
        if std::mem::take(&mut self.needs_reset) {
            was_reset(self.ask("RSET\r\n", until).await?)?;
        }
        positive(Phase::Mail, self.ask(mail, until).await?)?;
        positive(Phase::Rcpt, self.ask(rcpt, until).await?)?;
        Ok(self.next_offered())
    }

    /// The replies to MAIL and RCPT sent together. MAIL's refusal is the cause, RCPT's then a consequence.
    async fn read_offer(&mut self, until: Instant) -> Result<Offered, OfferError> {
        let mail = self.read(until).await?;
        if mail.is_closing() {
            return Err(OfferError::Refused { phase: Phase::Mail, reply: mail });
        }
        let rcpt = self.read(until).await?;
        positive(Phase::Mail, mail)?;
        positive(Phase::Rcpt, rcpt)?;
        Ok(self.next_offered())
    }

    const fn next_offered(&mut self) -> Offered {
        self.transaction += 1;
        Offered { transaction: self.transaction }
    }

    /// `None` for an address that would not stay inside its brackets.
    pub(super) fn commands(&self, envelope: &Envelope<'_>) -> Option<[String; 2]> {
        let Envelope { from, to, size } = *envelope;
        if !is_safe(from) || !is_safe(to) || to.is_empty() {
            return None;
        }
        let mail = if self.features.size {
            format!("MAIL FROM:<{from}> SIZE={size}\r\n")
        } else {
            format!("MAIL FROM:<{from}>\r\n")
        };
        Some([mail, format!("RCPT TO:<{to}>\r\n")])
    }

    const fn is_over(&self, offered: &Result<Offered, OfferError>) -> bool {
        match offered {
            Ok(_) => self.broken,
            Err(OfferError::Refused { reply, .. }) => reply.is_closing(),
            Err(OfferError::BadAddress) => false,
            Err(OfferError::Broken(_)) => true,
        }
    }

    const fn note_refusal(&mut self, error: &OfferError) {
        match error {
            OfferError::Refused { reply, .. } => {
                self.needs_reset = true;
                self.broken |= reply.is_closing();
            }
            OfferError::BadAddress => {}
            OfferError::Broken(_) => self.broken = true,
        }
    }
}

/// Whether MAIL came behind one that the server still has.
const fn is_out_of_turn(offered: &Result<Offered, OfferError>) -> bool {
    matches!(offered, Err(OfferError::Refused { phase: Phase::Mail, reply }) if reply.code() == 503)
}

fn positive(phase: Phase, reply: Reply) -> Result<(), OfferError> {
    if reply.is_goodbye() {
        Err(Broken::Closed.into())
    } else if reply.is_positive() {
        Ok(())
    } else if reply.is_temporary() || reply.is_permanent() {
        Err(OfferError::Refused { phase, reply })
    } else {
        Err(Broken::Protocol.into())
    }
}

/// RSET cannot be refused (RFC 5321, section 4.1.1.5): a server that does is out of step, and two more replies may be on
/// their way. One that sends us away is understood.
fn was_reset(reply: Reply) -> Result<(), OfferError> {
    if reply.is_positive() {
        Ok(())
    } else if reply.is_closing() {
        Err(OfferError::Refused { phase: Phase::Mail, reply })
    } else {
        Err(Broken::Protocol.into())
    }
}

/// Stays inside `<…>` and on its line. Addresses were parsed long before; this is the last look.
fn is_safe(address: &str) -> bool {
    address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>')
}
