//! The second half of a message, whose recipient was accepted: DATA, the message, its final dot; or, where the server offers
//! CHUNKING (RFC 3030), the message as one chunk, whose last byte counts as the final dot.
//!
//! Behind its end go MAIL and RCPT of the next where the server offers PIPELINING (RFC 2920). The message always waits for
//! its caller.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::message::{FINAL_DOT, LAST_PIECE, chunk, fits_chunk, stuff};
use super::outcome::{Broken, DataOutcome, Phase};
use super::reply::Reply;
use super::{Alive, Envelope, Offered, OwnedEnvelope, SmtpConnection};

/// A scratch buffer that grew over this is given back after the message.
const KEPT_SCRATCH: usize = 256 * 1024;

impl SmtpConnection {
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
        self.in_one_chunk = false;
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

    /// What a chunk came to.
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
            && !may_be_whole(written, end)
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
    pub(super) async fn ask(&mut self, command: &str, until: Instant) -> Result<Reply, Broken> {
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

    pub(super) async fn write(&mut self, commands: &str, end: Instant) -> Result<(), Broken> {
        // An idle server that closes says 421 first; that is an answer to whatever comes next.
        timeout_at(end, self.wire.write(commands.as_bytes())).await.unwrap_or(Err(Broken::Timeout))
    }

    pub(super) async fn read(&mut self, until: Instant) -> Result<Reply, Broken> {
        self.read_by(until.min(Instant::now() + self.timeouts.command)).await
    }

    async fn read_by(&mut self, end: Instant) -> Result<Reply, Broken> {
        timeout_at(end, self.wire.read_reply()).await.unwrap_or(Err(Broken::Timeout))
    }
}

/// Whether the server may have all of a message that ends at `end`, of which so much was written. Pure.
const fn may_be_whole(written: usize, end: usize) -> bool {
    written >= end
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
    timeout(limit, work).await.unwrap_or(Err(Broken::Timeout))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_that_was_written_to_its_last_byte_may_be_there() {
        assert_eq!([4, 5, 6].map(|written| super::may_be_whole(written, 5)), [false, true, true]);
    }
}
