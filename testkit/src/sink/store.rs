//! What the sink has seen: messages, commands, connections, and the counts that the benchmarks read.
//! A message is recorded when its final dot was read, whatever happens to the reply.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::message::{Message, raw_header};
use super::wire::unstuff;

/// How much of what it gets the sink keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Messages with their bytes, and every command: for tests.
    #[default]
    All,
    /// The counts only; messages are shown to the observer ([`super::Builder::on_message`]) and dropped.
    Passing,
    /// The counts of [`Tally`] only: for benchmarks.
    Tally,
}

/// Counts over all received messages. `messages - recipients` is how many reached a recipient again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Messages received: accepted, or stored and left without an answer.
    pub messages: u64,
    /// Their size, as transferred, in bytes.
    pub bytes: u64,
    /// Different recipients (the first of each message).
    pub recipients: u64,
    /// Different pairs of Message-ID and recipient.
    pub pairs: u64,
    /// Messages refused after the dot.
    pub refused: u64,
    /// When the first message was received.
    pub first_at: Option<Instant>,
    /// When the latest message was received.
    pub last_at: Option<Instant>,
}

/// A command line that a client sent.
#[derive(Debug, Clone)]
pub struct Command {
    /// The connection it came by.
    pub connection: u64,
    /// When it was read.
    pub at: Instant,
    /// The line; the final dot is `.`, and what AUTH sends is left out.
    pub line: String,
    /// Whether it was there before the sink had answered what came before it (RFC 2920).
    pub ahead: bool,
}

impl Command {
    /// Whether this is the command `verb`, in any case.
    pub fn is(&self, verb: &str) -> bool {
        self.line.split(' ').next().is_some_and(|it| it.eq_ignore_ascii_case(verb))
    }
}

/// A connection that a client opened.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its number, from 1 in the order of accepting.
    pub id: u64,
    /// The client's side.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub opened_at: Instant,
    /// When the sink was done with it; none while open.
    pub closed_at: Option<Instant>,
    /// Whether it went over to TLS.
    pub tls: bool,
    /// Whom it authenticated as.
    pub user: Option<String>,
    /// Messages received by it.
    pub messages: u64,
}

/// A message as it came.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// Behind DATA, with doubled dots.
    Stuffed(&'a [u8]),
    /// As a chunk.
    Plain(&'a [u8]),
}

impl<'a> Body<'a> {
    const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Stuffed(bytes) | Self::Plain(bytes) => bytes,
        }
    }

    fn raw(self) -> Vec<u8> {
        match self {
            Self::Stuffed(bytes) => unstuff(bytes),
            Self::Plain(bytes) => bytes.to_vec(),
        }
    }
}

/// A message before it has a number.
pub(super) struct Arrival<'a> {
    pub(super) connection: u64,
    pub(super) from: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) body: Body<'a>,
    pub(super) refused: bool,
}

/// Called with each received message.
pub(super) type Observer = Box<dyn Fn(&Message) + Send + Sync>;

pub(super) struct Store {
    keep: Keep,
    observer: Option<Observer>,
    seen: Mutex<Seen>,
    received: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    messages: Vec<Message>,
    refused: Vec<Message>,
    commands: Vec<Command>,
    connections: Vec<Connection>,
    tally: Tally,
    recipient_hashes: HashSet<u64>,
    pair_hashes: HashSet<u64>,
}

impl Store {
    pub(super) fn new(keep: Keep, observer: Option<Observer>) -> Self {
        Self { keep, observer, seen: Mutex::default(), received: watch::Sender::new(0) }
    }

    pub(super) fn open(&self, peer: SocketAddr) -> u64 {
        let mut seen = self.seen.lock();
        let id = seen.connections.len() as u64 + 1;
        let opened_at = Instant::now();
        seen.connections.push(Connection {
            id,
            peer,
            opened_at,
            closed_at: None,
            tls: false,
            user: None,
            messages: 0,
        });
        id
    }

    pub(super) fn update(&self, connection: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.seen.lock().connection(connection) {
            change(connection);
        }
    }

    pub(super) fn command(&self, connection: u64, line: &str, ahead: bool) {
        if self.keep == Keep::All {
            let command = Command { connection, at: Instant::now(), line: line.to_owned(), ahead };
            self.seen.lock().commands.push(command);
        }
    }

    /// Records a message whose final dot was read, and returns its number.
    pub(super) fn arrive(&self, arrival: &Arrival<'_>) -> u64 {
        let recipient = hash(&arrival.recipients.first());
        let pair = hash(&(raw_header(arrival.body.bytes(), b"message-id"), recipient));
        let mut message = (self.keep != Keep::Tally).then(|| message(arrival));
        let mut seen = self.seen.lock();
        let id = seen.count(arrival, recipient, pair);
        if let Some(message) = &mut message {
            message.id = id;
        }
        if self.keep == Keep::All
            && let Some(message) = message.clone()
        {
            let list = if arrival.refused { &mut seen.refused } else { &mut seen.messages };
            list.push(message);
        }
        let received = seen.tally.messages;
        drop(seen);
        if !arrival.refused {
            if let (Some(observer), Some(message)) = (&self.observer, &message) {
                observer(message);
            }
            // Two connections may come here in the other order: the count never goes back.
            self.received.send_if_modified(|count| {
                let more = *count < received;
                *count = received.max(*count);
                more
            });
        }
        id
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.seen.lock().messages.clone()
    }

    pub(super) fn refused(&self) -> Vec<Message> {
        self.seen.lock().refused.clone()
    }

    pub(super) fn commands(&self) -> Vec<Command> {
        self.seen.lock().commands.clone()
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.seen.lock().connections.clone()
    }

    pub(super) fn tally(&self) -> Tally {
        self.seen.lock().tally
    }

    /// Forgets messages, commands and counts; connections stay.
    pub(super) fn clear(&self) {
        let mut seen = self.seen.lock();
        let connections = std::mem::take(&mut seen.connections);
        *seen = Seen { connections, ..Seen::default() };
        drop(seen);
        self.received.send_replace(0);
    }

    pub(super) async fn wait_for(&self, count: u64, deadline: Duration) -> io::Result<()> {
        let mut received = self.received.subscribe();
        if let Ok(Ok(_)) = timeout(deadline, received.wait_for(|received| *received >= count)).await {
            return Ok(());
        }
        let text = format!("{} of {count} messages came within {deadline:?}", self.tally().messages);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

impl Seen {
    fn connection(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// Counts an arrival and returns its number.
    fn count(&mut self, arrival: &Arrival<'_>, recipient: u64, pair: u64) -> u64 {
        if arrival.refused {
            self.tally.refused += 1;
        } else {
            self.tally.messages += 1;
            let now = Instant::now();
            self.tally.first_at.get_or_insert(now);
            self.tally.last_at = Some(now);
            self.tally.bytes += arrival.body.bytes().len() as u64;
            self.tally.recipients += u64::from(self.recipient_hashes.insert(recipient));
            self.tally.pairs += u64::from(self.pair_hashes.insert(pair));
            if let Some(connection) = self.connection(arrival.connection) {
                connection.messages += 1;
            }
        }
        self.tally.messages + self.tally.refused
    }
}

/// The message, still without its number.
#[expect(clippy::disallowed_methods, reason = "the sink notes when a message came")]
fn message(arrival: &Arrival<'_>) -> Message {
    Message {
        id: 0,
        connection: arrival.connection,
        from: arrival.from.to_owned(),
        recipients: arrival.recipients.to_vec(),
        received_at: SystemTime::now(),
        raw: arrival.body.raw().into(),
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
