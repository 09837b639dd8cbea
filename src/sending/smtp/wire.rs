//! The bytes of a conversation: writing whole commands, reading bounded replies, going over to TLS.
//!
//! No deadlines here; the phases have them.

use std::{io::ErrorKind, mem::MaybeUninit, time::Duration};

use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::outcome::Broken;
use super::reply::{Reply, ReplyLine};
use crate::net::{DialError, Dialer, LineError, MailStream, read_line};

/// A reply line is 512 bytes by the standard; what is over this is dropped.
pub(super) const MAX_LINE: usize = 2048;
/// A reply of all its lines; more is a server that means no good.
pub(super) const MAX_REPLY: usize = 64 * 1024;
const READ_BUFFER: usize = 2048;

pub(super) struct Wire {
    io: BufReader<MailStream>,
}

impl From<LineError> for Broken {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed => Self::Closed,
            LineError::TooMuch => Self::Protocol,
        }
    }
}

impl Wire {
    pub(super) fn new(stream: MailStream) -> Self {
        Self { io: BufReader::with_capacity(READ_BUFFER, stream) }
    }

    pub(super) fn is_secure(&self) -> bool {
        matches!(self.stream(), Either::Right(_))
    }

    fn stream(&self) -> &MailStream {
        self.io.get_ref()
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self.stream() {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    /// Whether everything read was also asked for. Bytes ahead of a question are a server out of step, or
    /// somebody who wrote into the clear part of the conversation (STARTTLS injection, CVE-2011-0411). What TLS has taken
    /// in and not given out yet counts too, and so does its goodbye.
    pub(super) fn is_in_step(&self) -> bool {
        let waits = match self.stream() {
            Either::Left(_) => true,
            Either::Right(tls) => tls.get_ref().1.wants_read(),
        };
        waits && self.io.buffer().is_empty()
    }

    /// [`Self::is_in_step`], and nothing has come since the last read: no goodbye, no end. It takes one look at the socket.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let looked = SockRef::from(self.tcp()).peek(&mut byte);
        self.is_in_step() && looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Writes and flushes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.io.write_all(bytes).await.map_err(|_| Broken::Closed)?;
        self.io.flush().await.map_err(|_| Broken::Closed)
    }

    /// Writes what follows the first `written` bytes, flushes, and counts as it goes: what was not counted did not go out,
    /// whatever came in between.
    pub(super) async fn write_on(&mut self, bytes: &[u8], written: &mut usize) -> Result<(), Broken> {
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match self.io.write(rest).await {
                Ok(0) | Err(_) => return Err(Broken::Closed),
                Ok(more) => *written += more,
            }
        }
        self.io.flush().await.map_err(|_| Broken::Closed)
    }

    /// One whole reply.
    pub(super) async fn read_reply(&mut self) -> Result<Reply, Broken> {
        read_reply(&mut self.io).await
    }

    /// TLS on a conversation that began in clear.
    pub(super) async fn secure(
        self,
        dialer: &Dialer,
        host: &str,
        within: Duration,
    ) -> Result<Self, DialError> {
        match self.io.into_inner() {
            Either::Left(tcp) => {
                let tls = dialer.wrap_tls(host, tcp, within).await?;
                Ok(Self::new(Either::Right(Box::new(tls))))
            }
            secured @ Either::Right(_) => Ok(Self::new(secured)),
        }
    }
}

/// One whole reply, and not a byte behind it.
pub(super) async fn read_reply<R>(reader: &mut R) -> Result<Reply, Broken>
where
    R: AsyncBufRead + Unpin,
{
    let mut budget = MAX_REPLY;
    let mut lines = Vec::with_capacity(1);
    let mut first = None;
    loop {
        let bytes = read_line(reader, MAX_LINE, &mut budget).await?;
        let line = ReplyLine::parse(&bytes).ok_or(Broken::Protocol)?;
        if line.code != *first.get_or_insert(line.code) {
            return Err(Broken::Protocol);
        }
        lines.push(line.text);
        if !line.more {
            return Ok(Reply::new(line.code, lines));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    use testkit::sink::Identity;
    use tokio::net::TcpListener;
    use tokio_rustls::server::TlsStream;

    use super::*;
    use crate::net::{DialPolicy, resolve::scripted::ScriptedDns};

    /// A reply that fills the buffer, another behind it, or none: then the end.
    #[tokio::test]
    async fn what_tls_has_taken_in_was_not_asked_for_either() {
        let full = format!("250-{}\r\n250 ok\r\n", "x".repeat(READ_BUFFER - 14));
        for (first, more) in [(full.as_str(), "221 bye\r\n"), ("250 ok\r\n", "")] {
            let (mut wire, mut tls) = joined().await;
            tls.write_all(first.as_bytes()).await.unwrap();
            tls.flush().await.unwrap();
            tls.write_all(more.as_bytes()).await.unwrap();
            tls.flush().await.unwrap();
            if more.is_empty() {
                tls.shutdown().await.unwrap();
            }
            assert!(wire.is_in_step() && !wire.is_quiet());
            assert_eq!(wire.read_reply().await.unwrap().code(), 250);
            assert!(!wire.is_quiet(), "{} bytes and {more:?}", first.len());
            assert!(!more.is_empty() || !wire.is_in_step());
        }
    }

    #[tokio::test]
    async fn a_server_that_waits_is_quiet() {
        let (mut wire, mut tls) = joined().await;
        assert!(wire.is_in_step() && wire.is_quiet());
        tls.write_all(b"250 ok\r\n").await.unwrap();
        tls.flush().await.unwrap();
        assert_eq!(wire.read_reply().await.unwrap().code(), 250);
        assert!(wire.is_in_step() && wire.is_quiet());
    }

    /// Both ends of a conversation over TLS.
    async fn joined() -> (Wire, TlsStream<TcpStream>) {
        let identity = Identity::generate(&["127.0.0.1".to_owned()]).unwrap();
        let root = CertificateDer::from_pem_slice(identity.ca_pem().unwrap().as_bytes()).unwrap();
        let acceptor = identity.acceptor().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let policy = DialPolicy { allow_private: true, allow_plain_mail: false };
        let dialer = Dialer::with(policy, Arc::new(ScriptedDns::default()), &[root]).unwrap();
        let client = async {
            let wire = Wire::new(Either::Left(TcpStream::connect(address).await.unwrap()));
            wire.secure(&dialer, "127.0.0.1", Duration::from_secs(10)).await.unwrap()
        };
        let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let (mut wire, mut tls) = tokio::join!(client, server);
        // Tickets of TLS come behind the handshake, and are taken in with the first reply.
        tls.write_all(b"220 hi\r\n").await.unwrap();
        tls.flush().await.unwrap();
        assert_eq!(wire.read_reply().await.unwrap().code(), 220);
        (wire, tls)
    }
}
