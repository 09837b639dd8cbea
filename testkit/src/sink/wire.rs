//! The bytes of one connection: whole lines in, replies out. Knows nothing of SMTP's verbs.
//! Replies are gathered and written just before the sink would wait for input, so that a pipelined group
//! of commands is answered with one write (RFC 2920 section 3.2).

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use memchr::{memchr, memmem};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

/// How much room each read is given.
const CHUNK: usize = 32 * 1024;
/// AUTH may send this much in a line (RFC 4954 section 4); nothing else needs more.
const LONGEST_LINE: usize = 12 * 1024;
/// What is read ahead of a connection that is held.
const READ_AHEAD: usize = 1024 * 1024;

/// A byte stream both ways: TCP, or TLS over it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How slowly a sink speaks: the pause before each byte in milliseconds, 0 for none.
#[derive(Debug, Default)]
pub(super) struct Drip(AtomicU64);

impl Drip {
    pub(super) fn set(&self, pause: Duration) {
        self.0.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn pause(&self) -> Option<Duration> {
        let millis = self.0.load(Ordering::Acquire);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// A connection with its buffers.
pub(super) struct Wire {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    output: Vec<u8>,
    longest_body: usize,
    drip: Arc<Drip>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Duplex>, longest_body: usize, drip: Arc<Drip>) -> Self {
        let (input, output) = (BytesMut::with_capacity(CHUNK), Vec::with_capacity(1024));
        Self { stream, input, output, longest_body, drip }
    }

    /// The stream without its buffers: what the client sent ahead of STARTTLS is dropped (RFC 3207 section 6).
    pub(super) fn into_stream(self) -> Box<dyn Duplex> {
        self.stream
    }

    /// Queues a reply line; `text` is without its line end.
    pub(super) fn reply(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Queues bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Whether the client has said nothing more yet: what it says next, it says after our answer.
    pub(super) fn is_answered(&self) -> bool {
        self.input.is_empty()
    }

    /// Writes what is queued.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            match self.drip.pause() {
                Some(pause) => self.drip_out(pause).await?,
                None => self.stream.write_all(&self.output).await?,
            }
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    async fn drip_out(&mut self, pause: Duration) -> io::Result<()> {
        for byte in &self.output {
            sleep(pause).await;
            self.stream.write_all(&[*byte]).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Reads more; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(CHUNK);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    /// The next line without its end, none at the end of the stream.
    pub(super) async fn line(&mut self) -> io::Result<Option<BytesMut>> {
        let mut scanned = 0;
        loop {
            let fresh = self.input.get(scanned..).unwrap_or_default();
            if let Some(at) = memchr(b'\n', fresh) {
                let mut line = self.input.split_to(scanned + at + 1);
                line.truncate(line.trim_ascii_end().len());
                return Ok(Some(line));
            }
            scanned = self.input.len();
            if scanned > LONGEST_LINE {
                return Err(too_long("command line"));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for the first bytes of a body; false at the end of the stream.
    pub(super) async fn body_begins(&mut self) -> io::Result<bool> {
        self.flush().await?;
        if self.input.is_empty() { self.fill().await } else { Ok(true) }
    }

    /// The body up to the final dot, which is taken off; doubled dots are still doubled.
    /// None when the stream ended before the dot.
    pub(super) async fn body(&mut self) -> io::Result<Option<BytesMut>> {
        let mut scanned = 0;
        loop {
            if let Some((length, whole)) = end_of_body(&self.input, scanned) {
                let mut body = self.input.split_to(whole);
                body.truncate(length);
                return Ok(Some(body));
            }
            scanned = self.input.len().saturating_sub(4);
            if scanned > self.longest_body {
                return Err(too_long("message"));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// As many bytes as a client said that there are; none when the stream ended before.
    pub(super) async fn exactly(&mut self, length: usize) -> io::Result<Option<BytesMut>> {
        if length > self.longest_body {
            return Err(too_long("message"));
        }
        while self.input.len() < length {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.input.split_to(length)))
    }

    /// Waits until the client goes away, reading ahead what it sends meanwhile. May be dropped at any
    /// time; call [`Self::flush`] before, so that no write is cut in the middle.
    pub(super) async fn peer_closed(&mut self) {
        loop {
            if self.input.len() > READ_AHEAD {
                pending::<()>().await;
            }
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
    }

    /// Writes what is queued and says goodbye; a client that is gone already is no error.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_ok() {
            // The other side may have closed first: there is nobody left to tell.
            drop(self.stream.shutdown().await);
        }
    }
}

/// Length of the body and of body with terminator, where `input` from about `from` on holds one.
fn end_of_body(input: &[u8], from: usize) -> Option<(usize, usize)> {
    if input.starts_with(b".\r\n") {
        return Some((0, 3));
    }
    let at = from + memmem::find(input.get(from..)?, b"\r\n.\r\n")?;
    Some((at + 2, at + 5))
}

/// The body as it was written: one dot taken off every line that begins with one (RFC 5321 section 4.5.2).
pub(super) fn unstuff(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len());
    let mut rest = body.strip_prefix(b".").unwrap_or(body);
    while let Some(at) = memmem::find(rest, b"\r\n.") {
        let (before, after) = rest.split_at(at + 2);
        plain.extend_from_slice(before);
        rest = after.strip_prefix(b".").unwrap_or(after);
    }
    plain.extend_from_slice(rest);
    plain
}

fn too_long(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_at_its_dot_and_an_empty_one_too() {
        assert_eq!(end_of_body(b"a\r\n.\r\nQUIT\r\n", 0), Some((3, 6)));
        assert_eq!(end_of_body(b".\r\n", 0), Some((0, 3)));
        assert_eq!(end_of_body(b"a\r\n..\r\n", 0), None);
    }

    #[test]
    fn doubled_dots_are_halved_at_line_starts_only() {
        assert_eq!(unstuff(b"..a\r\n...\r\nb..c\r\n"), b".a\r\n..\r\nb..c\r\n");
        assert_eq!(unstuff(b"a\r\n\r\n..\r\n"), b"a\r\n\r\n.\r\n");
    }
}
