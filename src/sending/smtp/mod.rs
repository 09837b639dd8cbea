//! The SMTP client of the send path, driven phase by phase (RFC 5321).
//!
//! A library that sends a message as one call does not tell how far it came, and that decides whether a message
//! may be sent again. Here each phase is a call of its own with its own deadline, and the outcome of a message
//! is told by the phase reached: an explicit reply decides, the final dot not written means not sent (of a chunk: its last
//! byte), and everything else is unknown. Nothing here knows campaigns, rows or retries.

mod classify;
mod features;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod message;
mod offering;
mod open;
mod outcome;
mod reply;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

use std::time::Duration;

use tokio::time::Instant;

pub use classify::{Lasting, SenderFault, Trouble, classify};
pub use open::verify_smtp;
pub use outcome::{Broken, DataOutcome, OfferError, OpenError, Phase};
pub use reply::{Reply, provider_id};

use features::Features;
use wire::Wire;

/// Where a credential leads, and what opens it. Deliberately without `Debug`.
#[derive(Clone, Copy)]
pub struct Endpoint<'a> {
    /// The host as the tenant named it; TLS is checked against it.
    pub host: &'a str,
    /// 465 is TLS from the first byte (RFC 8314), any other port STARTTLS (RFC 3207).
    pub port: u16,
    /// The user name.
    pub username: &'a str,
    /// The password in clear; it goes to the server and nowhere else.
    pub password: &'a str,
}

/// Who writes to whom, and how much (RFC 5321, section 2.3.1; RFC 1870).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The return path; ASCII.
    pub from: &'a str,
    /// The one recipient; ASCII.
    pub to: &'a str,
    /// The size of the message in bytes, announced where the server wants to know.
    pub size: usize,
}

/// How long each phase may take, whatever the server sends meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS and TCP together.
    pub connect: Duration,
    /// Greeting, EHLO, TLS, AUTH, MAIL and RCPT, each.
    pub command: Duration,
    /// Everything before DATA together: nothing has happened yet, and the lane is held.
    pub before_data: Duration,
    /// The answer to DATA.
    pub data: Duration,
    /// Writing the message, and its final dot.
    pub body: Duration,
    /// The answer to the final dot (RFC 5321, section 4.5.3.2.6, asks for ten minutes).
    pub final_reply: Duration,
    /// A polite goodbye.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            command: Duration::from_mins(1),
            before_data: Duration::from_secs(100),
            data: Duration::from_mins(2),
            body: Duration::from_mins(2),
            final_reply: Duration::from_mins(10),
            quit: Duration::from_secs(5),
        }
    }
}

/// Asked before DATA and before the final dot, or before a chunk: may this process still send? It looks at memory only.
pub type Alive<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// A recipient that the server accepted: the next command may be DATA or BDAT. Good for one message on the connection
/// that gave it.
#[derive(Debug)]
#[must_use = "an accepted recipient is followed by the message or by a reset"]
pub struct Offered {
    transaction: u64,
}

/// An open connection, greeted, secured and authenticated.
pub struct SmtpConnection {
    wire: Wire,
    features: Features,
    timeouts: Timeouts,
    /// The end of `before_data` for the first message, which shares it with opening.
    first_until: Option<Instant>,
    /// Counts MAIL commands that were accepted; names the one that an [`Offered`] is for.
    transaction: u64,
    /// The envelope whose MAIL and RCPT went out with the last final dot, their replies not yet read.
    ahead: Option<OwnedEnvelope>,
    /// The server still holds a transaction that came to nothing.
    needs_reset: bool,
    /// Once broken, never used again.
    broken: bool,
    /// The last message was one chunk.
    in_one_chunk: bool,
    /// Messages that got their final reply.
    served: u64,
    /// Kept between messages, so that a message costs no allocation of its own size.
    scratch: Vec<u8>,
}

/// [`Envelope`], kept while its replies are outstanding.
#[derive(Debug, PartialEq, Eq)]
struct OwnedEnvelope {
    from: String,
    to: String,
    size: usize,
}

impl OwnedEnvelope {
    fn is(&self, other: &Envelope<'_>) -> bool {
        self.from == other.from && self.to == other.to && self.size == other.size
    }
}

impl From<&Envelope<'_>> for OwnedEnvelope {
    fn from(envelope: &Envelope<'_>) -> Self {
        Self { from: envelope.from.to_owned(), to: envelope.to.to_owned(), size: envelope.size }
    }
}

impl SmtpConnection {
    /// Whether another message may be tried on it.
    pub const fn is_usable(&self) -> bool {
        !self.broken
    }

    /// Whether it takes commands before it answered the ones before them (RFC 2920).
    pub const fn takes_ahead(&self) -> bool {
        self.features.pipelining
    }

    /// Sends every message behind DATA from now on, also where the server offers CHUNKING.
    pub const fn without_chunks(&mut self) {
        self.features.chunking = false;
    }

    /// Whether the last message went out as a chunk, or would have.
    pub const fn sent_a_chunk(&self) -> bool {
        self.in_one_chunk
    }

    /// How many messages got their final reply here. A connection that served and then fails before DATA has
    /// probably been closed for idleness: open another one at once.
    pub const fn served(&self) -> u64 {
        self.served
    }

    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.wire.is_secure()
    }
}
