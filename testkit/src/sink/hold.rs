//! Holding a connection at a named point until the test lets it go. Says where and whom; the session waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where a connection can be held; always *before* the sink's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The connection is open, the greeting is not yet sent.
    AfterConnect,
    /// MAIL was read, its reply is not yet sent. Only the sender is known here.
    AfterMail,
    /// RCPT was read, its reply is not yet sent.
    AfterRcpt,
    /// DATA was read, its 354 is not yet sent.
    BeforeDataReply,
    /// The first bytes of the body were read; nothing is stored yet.
    MidBody,
    /// The final dot was read and the message is stored; the final reply is not yet sent.
    AfterDot,
}

/// Which connections a hold catches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// Every one.
    Any,
    /// Those whose current message goes to this address.
    Recipient(String),
    /// Those whose current message comes from this envelope sender.
    Sender(String),
    /// The connection with this id ([`crate::sink::Connection::id`]).
    Connection(u64),
}

impl Matcher {
    /// [`Matcher::Recipient`].
    pub fn recipient(address: impl Into<String>) -> Self {
        Self::Recipient(address.into())
    }

    /// [`Matcher::Sender`].
    pub fn sender(address: impl Into<String>) -> Self {
        Self::Sender(address.into())
    }

    fn matches(&self, place: &Place<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Recipient(address) => place.recipients.iter().any(|it| it.eq_ignore_ascii_case(address)),
            Self::Sender(address) => place.sender.eq_ignore_ascii_case(address),
            Self::Connection(id) => *id == place.connection,
        }
    }
}

/// Where a session stands, for the matchers.
pub(super) struct Place<'a> {
    pub(super) connection: u64,
    pub(super) sender: &'a str,
    pub(super) recipients: &'a [String],
}

/// What a held connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Wait,
    Go,
    Cut,
}

/// One hold as its sessions see it.
#[derive(Debug)]
pub(super) struct Gate {
    point: Point,
    matcher: Matcher,
    signal: watch::Sender<Signal>,
    caught: watch::Sender<usize>,
}

impl Gate {
    /// Counts the session in and waits for the test; true when it may go on, false when it is to close.
    pub(super) async fn pass(&self) -> bool {
        let mut signal = self.signal.subscribe();
        self.caught.send_modify(|count| *count += 1);
        // The sender lives in this gate, so the wait ends with a signal only.
        signal.wait_for(|signal| *signal != Signal::Wait).await.is_ok_and(|signal| *signal == Signal::Go)
    }
}

/// The holds that are set.
#[derive(Debug, Default)]
pub(super) struct Holds {
    gates: Mutex<Vec<Arc<Gate>>>,
    /// Length of `gates`, so that a sink without holds takes no lock at each point.
    set: AtomicUsize,
}

impl Holds {
    pub(super) fn set(self: &Arc<Self>, point: Point, matcher: Matcher) -> Hold {
        let gate = Arc::new(Gate {
            point,
            matcher,
            signal: watch::Sender::new(Signal::Wait),
            caught: watch::Sender::new(0),
        });
        let mut gates = self.gates.lock();
        gates.push(Arc::clone(&gate));
        self.set.store(gates.len(), Ordering::Release);
        drop(gates);
        Hold { gate, holds: Arc::clone(self) }
    }

    /// The first hold that catches a session at this point.
    pub(super) fn find(&self, point: Point, place: &Place<'_>) -> Option<Arc<Gate>> {
        if self.set.load(Ordering::Acquire) == 0 {
            return None;
        }
        let gates = self.gates.lock();
        gates.iter().find(|gate| gate.point == point && gate.matcher.matches(place)).map(Arc::clone)
    }

    fn end(&self, gate: &Arc<Gate>, signal: Signal) {
        let mut gates = self.gates.lock();
        gates.retain(|other| !Arc::ptr_eq(other, gate));
        self.set.store(gates.len(), Ordering::Release);
        drop(gates);
        gate.signal.send_if_modified(|now| {
            let first = *now == Signal::Wait;
            if first {
                *now = signal;
            }
            first
        });
    }
}

/// A hold that is set: catches every connection that matches until it is released, cut or dropped.
#[derive(Debug)]
#[must_use = "a hold that is dropped is released"]
pub struct Hold {
    gate: Arc<Gate>,
    holds: Arc<Holds>,
}

impl Hold {
    /// Waits until a connection is held here.
    ///
    /// # Errors
    /// `TimedOut` when none came within `deadline`.
    pub async fn reached(&self, deadline: Duration) -> io::Result<()> {
        self.reached_by(1, deadline).await
    }

    /// Waits until `count` connections were held here.
    ///
    /// # Errors
    /// `TimedOut` when fewer came within `deadline`.
    pub async fn reached_by(&self, count: usize, deadline: Duration) -> io::Result<()> {
        let mut caught = self.gate.caught.subscribe();
        let enough = timeout(deadline, caught.wait_for(|caught| *caught >= count)).await;
        match enough {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.late(count, deadline)),
        }
    }

    /// How many connections were held here so far.
    pub fn count(&self) -> usize {
        *self.gate.caught.borrow()
    }

    /// Lets the held connections go on, and holds no more.
    pub fn release(&self) {
        self.holds.end(&self.gate, Signal::Go);
    }

    /// Closes the held connections without an answer, and holds no more.
    pub fn cut(&self) {
        self.holds.end(&self.gate, Signal::Cut);
    }

    fn late(&self, count: usize, deadline: Duration) -> io::Error {
        let text = format!(
            "{} of {count} connections reached {:?} of {:?} within {deadline:?}",
            self.count(),
            self.gate.point,
            self.gate.matcher,
        );
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}
