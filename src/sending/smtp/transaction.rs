//! One message on an open connection: MAIL and RCPT, DATA, the message, its final dot; or, where the server offers CHUNKING
//! (RFC 3030), the message as one chunk, whose last byte counts as the final dot.
//!
//! The commands of a group go out in one write where the server offers PIPELINING (RFC 2920): RSET, MAIL and
//! RCPT; and, behind a message's end, MAIL and RCPT of the next. The message always waits for its caller.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::message::{FINAL_DOT, LAST_PIECE, chunk, fits_chunk, stuff};
use super::outcome::{Broken, DataOutcome, OfferError, Phase};
use super::reply::Reply;
use super::{Alive, Envelope, Offered, OwnedEnvelope, SmtpConnection};

/// A scratch buffer that grew over this is given back after the message.
const KEPT_SCRATCH: usize = 256 * 1024;

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
            if ahead.is(envelope) {
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
    fn commands(&self, envelope: &Envelope<'_>) -> Option<[String; 2]> {
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

    /// Sends an accepted message: DATA, the message, the final dot, or one chunk. With `next`, its MAIL and RCPT go out
    /// behind it where the server allows that, and [`Self::offer`] with the same envelope reads the replies.
    ///
    /// The future must be run to its end: dropped in between, nobody knows what became of the message.
    pub(crate) async fn data(
        &mut self,
        offered: Offered,
        message: &[u8],
        next: Option<&Envelope<'_>>,
        alive: Alive<'_>,
    ) -> DataOutcome {
        if self.broken || offered.transaction != self.transaction {
            return self.not_sent(Broken::Protocol);
        }
        let mut text = std::mem::take(&mut self.scratch);
        // One that has closed, or said something meanwhile, is asked by DATA whether it is still there.
        self.in_one_chunk = self.features.chunking && fits_chunk(message) && self.wire.is_quiet();
        let begun = if self.in_one_chunk {
            self.begin_chunk(message, &mut text, alive)
        } else {
            self.begin(message, &mut text, alive).await
        };
        let mut outcome = match begun {
            Ok(written) => {
                let end = text.len();
                self.follow(next, &mut text);
                self.finish(&text, written, end).await
            }
            Err(outcome) => outcome,
        };
        if self.in_one_chunk {
            outcome = self.of_chunk(outcome);
        }
        if text.capacity() <= KEPT_SCRATCH {
            self.scratch = text;
        }
        if let (
            DataOutcome::Accepted(_) | DataOutcome::Deferred { .. } | DataOutcome::Refused { .. },
            false,
        ) = (&outcome, self.broken)
        {
            self.served += 1;
        }
        outcome
    }

    /// The whole message, ready to go out behind its length: nothing is waited for in between, so the last look is here.
    fn begin_chunk(
        &mut self,
        message: &[u8],
        text: &mut Vec<u8>,
        alive: Alive<'_>,
    ) -> Result<usize, DataOutcome> {
        crate::sending::points::reach("smtp-before-data");
        chunk(message, text);
        crate::sending::points::reach("smtp-before-dot");
        if alive() { Ok(0) } else { Err(self.not_sent(Broken::NotAlive)) }
    }

    /// What a chunk came to. A failed one ends its transaction (RFC 3030, section 2), and some servers keep that for RSET.
    fn of_chunk(&mut self, outcome: DataOutcome) -> DataOutcome {
        match &outcome {
            DataOutcome::Refused { reply, .. } if reply.is_of_command() => self.not_sent(Broken::NoChunks),
            DataOutcome::Refused { .. } | DataOutcome::Deferred { .. } => {
                self.needs_reset = self.ahead.is_none();
                outcome
            }
            DataOutcome::Accepted(_) | DataOutcome::NotSent(_) | DataOutcome::Unknown(_) => outcome,
        }
    }

    /// DATA, and what of the message goes out before its last piece, which `text` ends with; how much that was. Up to here the
    /// server cannot have the message, whatever fails.
    async fn begin(
        &mut self,
        message: &[u8],
        text: &mut Vec<u8>,
        alive: Alive<'_>,
    ) -> Result<usize, DataOutcome> {
        crate::sending::points::reach("smtp-before-data");
        if !alive() {
            return Err(self.not_sent(Broken::NotAlive));
        }
        let until = Instant::now() + self.timeouts.data;
        match self.ask_until("DATA\r\n", until).await {
            Ok(reply) if reply.code() == 354 => {}
            Ok(reply) => return Err(self.data_refused(reply)),
            Err(broken) => return Err(self.not_sent(broken)),
        }
        stuff(message, text);
        let first = if text.len() > LAST_PIECE { text.len() } else { 0 };
        if let Some(first) = text.get(..first).filter(|first| !first.is_empty())
            && let Err(broken) = within(self.timeouts.body, self.wire.write(first)).await
        {
            return Err(self.not_sent(broken));
        }
        crate::sending::points::reach("smtp-before-dot");
        if !self.wire.is_in_step() {
            return Err(self.not_sent(Broken::Protocol));
        }
        text.extend_from_slice(FINAL_DOT);
        if alive() { Ok(first) } else { Err(self.not_sent(Broken::NotAlive)) }
    }

    /// MAIL and RCPT of the next message, where the server takes them ahead.
    fn follow(&mut self, next: Option<&Envelope<'_>>, text: &mut Vec<u8>) {
        let Some(next) = next.filter(|_| self.features.pipelining) else { return };
        if let Some([mail, rcpt]) = self.commands(next) {
            text.extend_from_slice(mail.as_bytes());
            text.extend_from_slice(rcpt.as_bytes());
            self.ahead = Some(OwnedEnvelope::from(next));
        }
    }

    /// The last piece of the message, which ends at `end`, and whatever follows. As soon as that much was written, only the
    /// server's word tells what became of the message.
    async fn finish(&mut self, text: &[u8], mut written: usize, end: usize) -> DataOutcome {
        let until = Instant::now() + self.timeouts.final_reply;
        let wrote = within(self.timeouts.body, self.wire.write_on(text, &mut written)).await;
        if let Err(broken) = &wrote
            && written < end
        {
            return self.not_sent(*broken);
        }
        crate::sending::points::reach("smtp-after-dot");
        self.broken |= wrote.is_err();
        // The server may have answered and closed before all of what follows went out.
        match self.read_by(until).await.map_err(|error| wrote.err().unwrap_or(error)) {
            Ok(reply) if reply.is_positive() && !reply.is_goodbye() => DataOutcome::Accepted(reply),
            Ok(reply) if reply.is_temporary() => {
                self.broken |= reply.is_closing();
                DataOutcome::Deferred { phase: Phase::Dot, reply }
            }
            Ok(reply) if reply.is_permanent() => DataOutcome::Refused { phase: Phase::Dot, reply },
            Ok(_) => self.unknown(Broken::Protocol),
            Err(broken) => self.unknown(broken),
        }
    }

    fn data_refused(&mut self, reply: Reply) -> DataOutcome {
        self.needs_reset = true;
        if reply.is_temporary() {
            self.broken |= reply.is_closing();
            DataOutcome::Deferred { phase: Phase::Data, reply }
        } else if reply.is_permanent() {
            DataOutcome::Refused { phase: Phase::Data, reply }
        } else {
            self.not_sent(Broken::Protocol)
        }
    }

    /// The server may wait for the rest of a message: the connection is good for nothing else.
    const fn not_sent(&mut self, why: Broken) -> DataOutcome {
        self.broken = true;
        DataOutcome::NotSent(why)
    }

    const fn unknown(&mut self, why: Broken) -> DataOutcome {
        self.broken = true;
        DataOutcome::Unknown(why)
    }

    /// Takes back what was offered and not sent. Without it the next [`Self::offer`] does so in its own group.
    ///
    /// # Errors
    /// When the server does not answer with success; the connection is then unusable.
    pub async fn reset(&mut self) -> Result<(), Broken> {
        if self.broken {
            return Err(Broken::Closed);
        }
        let until = Instant::now() + self.timeouts.before_data;
        let reply = self.reset_until(until).await;
        let done = reply.and_then(|reply| if reply.is_positive() { Ok(()) } else { Err(Broken::Protocol) });
        self.broken |= done.is_err();
        self.needs_reset = false;
        done
    }

    async fn reset_until(&mut self, until: Instant) -> Result<Reply, Broken> {
        if self.ahead.take().is_some() {
            let mail = self.read(until).await?;
            if mail.is_closing() {
                return Ok(mail);
            }
            self.read(until).await?;
        }
        self.ask("RSET\r\n", until).await
    }

    /// Says goodbye and closes; how the server takes it does not matter.
    pub async fn quit(mut self) {
        if self.broken {
            return;
        }
        let goodbye = async {
            self.wire.write(b"QUIT\r\n").await?;
            let outstanding = if self.ahead.is_some() { 2 } else { 0 };
            for _ in 0..=outstanding {
                self.wire.read_reply().await?;
            }
            Ok(())
        };
        if let Err(error) = within(self.timeouts.quit, goodbye).await {
            tracing::debug!(%error, "a server did not say goodbye");
        }
    }

    /// One command of the phases before DATA.
    async fn ask(&mut self, command: &str, until: Instant) -> Result<Reply, Broken> {
        self.ask_until(command, until.min(Instant::now() + self.timeouts.command)).await
    }

    async fn ask_until(&mut self, command: &str, end: Instant) -> Result<Reply, Broken> {
        if !self.wire.is_in_step() {
            return Err(Broken::Protocol);
        }
        let written = self.write(command, end).await;
        match (written, self.read_by(end).await) {
            (_, Ok(reply)) => Ok(reply),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    async fn write(&mut self, commands: &str, end: Instant) -> Result<(), Broken> {
        // An idle server that closes says 421 first; that is an answer to whatever comes next.
        timeout_at(end, self.wire.write(commands.as_bytes())).await.unwrap_or(Err(Broken::Timeout))
    }

    async fn read(&mut self, until: Instant) -> Result<Reply, Broken> {
        self.read_by(until.min(Instant::now() + self.timeouts.command)).await
    }

    async fn read_by(&mut self, end: Instant) -> Result<Reply, Broken> {
        timeout_at(end, self.wire.read_reply()).await.unwrap_or(Err(Broken::Timeout))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
    timeout(limit, work).await.unwrap_or(Err(Broken::Timeout))
}

fn positive(phase: Phase, reply: Reply) -> Result<(), OfferError> {
    if reply.is_positive() {
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
