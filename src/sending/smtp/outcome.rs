//! What can come of opening, offering and sending. The texts are fixed; what the server said is in the reply.

use super::classify::{SenderFault, Trouble, classify};
use super::reply::Reply;
use crate::net::{DialError, VerifyError};

/// The command that a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection itself.
    Greeting,
    /// EHLO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL; a RSET before it counts as a part of it.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, before any of the message.
    Data,
    /// The final dot, or a chunk.
    Dot,
}

/// How a conversation ended without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The phase's time was up.
    #[error("timed out")]
    Timeout,
    /// The connection ended.
    #[error("the connection was closed")]
    Closed,
    /// What came was no reply, or too much, or out of step.
    #[error("the server broke the protocol")]
    Protocol,
    /// This process may no longer send.
    #[error("this process lost its place")]
    NotAlive,
    /// The server offered CHUNKING and did not know the command, or refused a chunk and has never taken one; the message goes
    /// behind DATA.
    #[error("the server takes no chunks, although it offers them")]
    NoChunks,
}

/// Why a connection is not ready to send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no connection, or no TLS on it.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS is needed here and not offered.
    #[error("the server offers no STARTTLS")]
    NoTls,
    /// AUTH is needed here and no mechanism of ours is offered.
    #[error("the server offers no AUTH that can be used")]
    NoAuth,
    /// The server refused.
    #[error("refused with {}", .reply.code())]
    Refused {
        /// What it refused.
        phase: Phase,
        /// Its words.
        reply: Reply,
    },
    /// The conversation ended.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl OpenError {
    /// Whose trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Dial(_) | Self::NoTls | Self::Broken(_) => Trouble::Connection,
            Self::NoAuth => Trouble::Sender(SenderFault::Auth),
            Self::Refused { phase, reply } => classify(*phase, reply),
        }
    }

    /// The word for a check of the credential.
    pub fn verify_error(&self) -> VerifyError {
        match self {
            Self::Dial(error) => (*error).into(),
            Self::NoTls | Self::Refused { phase: Phase::StartTls, .. } => VerifyError::TlsFailed,
            Self::NoAuth | Self::Refused { phase: Phase::Auth, .. } => VerifyError::AuthFailed,
            Self::Broken(Broken::Timeout) => VerifyError::Timeout,
            Self::Broken(_) | Self::Refused { .. } => VerifyError::ProtocolFailed,
        }
    }
}

/// Why a recipient was not taken. Nothing of the message has been sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// MAIL or RCPT was refused. The connection can be used again unless it says otherwise.
    #[error("refused with {}", .reply.code())]
    Refused {
        /// What was refused.
        phase: Phase,
        /// The server's words.
        reply: Reply,
    },
    /// An address that cannot be put into a command: control characters, spaces, brackets or not ASCII.
    #[error("the address cannot be sent")]
    BadAddress,
    /// The conversation ended.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl OfferError {
    /// Whose trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Refused { phase, reply } => classify(*phase, reply),
            Self::BadAddress => Trouble::Recipient(super::Lasting::Permanent),
            Self::Broken(_) => Trouble::Connection,
        }
    }

    /// What the server said, where it said something.
    pub const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Refused { reply, .. } => Some(reply),
            Self::BadAddress | Self::Broken(_) => None,
        }
    }
}

/// What became of a message, told by the phase reached and never by the kind of error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message's outcome is recorded"]
pub enum DataOutcome {
    /// 2yz to the final dot: it is the server's now.
    Accepted(Reply),
    /// 4yz to DATA or to the final dot: the server does not have it.
    Deferred {
        /// Which of the two was answered.
        phase: Phase,
        /// The server's words.
        reply: Reply,
    },
    /// 5yz to DATA or to the final dot: the server does not want it.
    Refused {
        /// Which of the two was answered.
        phase: Phase,
        /// The server's words.
        reply: Reply,
    },
    /// The final dot was never written, not even tried, or a chunk was not taken for one: the server cannot have the message.
    NotSent(Broken),
    /// The final dot may have been written and no reply tells what became of it.
    Unknown(Broken),
}

impl DataOutcome {
    /// Whose trouble it is; `None` for an accepted message and for one whose fate is unknown.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Deferred { phase, reply } | Self::Refused { phase, reply } => Some(classify(*phase, reply)),
            Self::NotSent(_) => Some(Trouble::Connection),
            Self::Accepted(_) | Self::Unknown(_) => None,
        }
    }
}
