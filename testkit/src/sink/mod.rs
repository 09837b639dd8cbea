//! An SMTP server that keeps what it gets and misbehaves on request. It runs inside a test
//! ([`Sink::builder`]) or as the binary `sink`; it relays nothing and checks no policy of its own.
//!
//! A message is recorded the moment its final dot was read. What happens to a recipient is chosen, in
//! this order, by [`Sink::script`] or by the local part of the address (anything after a `+` is ignored,
//! so `reject-550+17@x.test` is one of many):
//!
//! | local part | what happens |
//! |---|---|
//! | `ok`, and everything not below | accepted |
//! | `reject-<5yz>` | that code at RCPT |
//! | `defer-<4yz>` | that code at RCPT, always |
//! | `busy-421` | 421 at RCPT, then closed |
//! | `reject-sender-<code>`, `policy-<code>` | that code with 5.7.1 at RCPT; `reject-sender-<code>` as MAIL FROM: at MAIL |
//! | `reject-data-<5yz>`, `defer-data-<4yz>` | that code after the final dot; the message is in [`Sink::refused`] |
//! | `close-at-rcpt`, `close-at-data` | closed instead of the answer |
//! | `close-mid-body` | closed at the first bytes of the body; nothing recorded |
//! | `close-after-dot` | recorded, closed without a reply |
//! | `silent-after-dot` | recorded, no reply until [`Sink::release_silent`] or the client leaves |
//! | `garbage-after-dot` | recorded, answered with bytes that are no reply |
//! | `slow-<ms>` | recorded, the reply comes that much later |
//! | any of these with `-once` at the end | so at the first RCPT of the address, accepted afterwards |
//!
//! With several recipients in one message, the first that is not plainly accepted decides from DATA on.

mod auth;
mod behaviour;
mod hold;
mod interruption;
mod mail;
mod message;
mod server;
mod session;
mod store;
mod tls;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use auth::Auth;
pub use behaviour::{Behaviour, Stage};
pub use hold::{Hold, Matcher, Point};
pub use interruption::{Interruption, Moment, noise};
pub use message::Message;
pub use server::{Builder, Chunking, Greeting};
pub use store::{Command, Connection, Keep, Tally};
pub use tls::{Identity, Tls};

use behaviour::Role;
use server::Shared;

/// A running sink. Dropping it closes its port and all connections.
pub struct Sink {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: Option<String>,
    _tasks: JoinSet<()>,
}

impl Sink {
    /// A sink to be set up further: on a free port of 127.0.0.1, without AUTH and TLS, keeping everything.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A sink as [`Self::builder`] has it.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate authority to trust, in PEM; none without TLS or with a given certificate.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Sets what the next attempts to this recipient meet, one step for each RCPT; the last repeats.
    pub fn script(&self, recipient: &str, steps: Vec<Behaviour>) {
        self.shared.scripts.set(Role::Recipient, recipient, steps);
    }

    /// The same for an envelope sender: only behaviours at [`Stage::Mail`] have an effect.
    pub fn script_sender(&self, sender: &str, steps: Vec<Behaviour>) {
        self.shared.scripts.set(Role::Sender, sender, steps);
    }

    /// Holds every connection that comes to `point` and matches, until the handle lets it go.
    pub fn hold(&self, point: Point, matcher: Matcher) -> Hold {
        self.shared.holds.set(point, matcher)
    }

    /// Answers all that are silent after the dot now with 250.
    pub fn release_silent(&self) {
        self.shared.silence.notify_waiters();
    }

    /// Opens all connections from now on so.
    pub fn set_greeting(&self, greeting: Greeting) {
        self.shared.greetings.lock().usual = greeting;
    }

    /// Opens the next connections so, one each, and then as usual.
    pub fn greet_next(&self, greetings: impl IntoIterator<Item = Greeting>) {
        self.shared.greetings.lock().next.extend(greetings);
    }

    /// Says this in the middle of conversations from now on, in place of what was set before.
    pub fn interrupt(&self, interruption: Interruption) {
        self.shared.interruptions.set(interruption);
    }

    /// From now on it pauses so long, in whole milliseconds, before each byte that it says, on all connections.
    pub fn drip(&self, pause: Duration) {
        self.shared.drip.set(pause);
    }

    /// Changes whom it lets in from now on.
    pub fn set_auth(&self, auth: Auth) {
        *self.shared.auth.lock() = auth;
    }

    /// The messages received so far: accepted, or recorded and left without an answer.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.store.messages()
    }

    /// The received messages to this recipient.
    pub fn messages_to(&self, recipient: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.is_to(recipient)).collect()
    }

    /// The messages that were refused after the final dot.
    pub fn refused(&self) -> Vec<Message> {
        self.shared.store.refused()
    }

    /// How many messages were received.
    pub fn count(&self) -> u64 {
        self.tally().messages
    }

    /// The counts, also where nothing else is kept.
    pub fn tally(&self) -> Tally {
        self.shared.store.tally()
    }

    /// Waits until at least `count` messages were received in all.
    ///
    /// # Errors
    /// `TimedOut`, saying how many came, when it were fewer within `deadline`.
    pub async fn wait_for(&self, count: u64, deadline: Duration) -> io::Result<()> {
        self.shared.store.wait_for(count, deadline).await
    }

    /// All connections so far, closed ones too.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.store.connections()
    }

    /// All commands so far, in the order they were read; kept with [`Keep::All`] only.
    pub fn commands(&self) -> Vec<Command> {
        self.shared.store.commands()
    }

    /// How often the command `verb` was read; the final dot is `.`.
    pub fn command_count(&self, verb: &str) -> usize {
        self.commands().iter().filter(|command| command.is(verb)).count()
    }

    /// Forgets messages, commands and counts; scripts, holds and connections stay.
    pub fn clear(&self) {
        self.shared.store.clear();
    }
}
