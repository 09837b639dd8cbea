//! A connection that cannot be made to fill the memory: `async-imap` makes room for whatever length a server announces,
//! so announcements are looked at before they reach it.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest literal (RFC 9051, section 4.3) that is taken.
pub(super) const MOST_LITERAL: u64 = 512 * 1024;
/// Longest line outside of literals: the answer to a search is one, with seven bytes for a mail. `async-imap` begins anew
/// with each piece of it that comes, so that a long one costs more than its length.
const MOST_LINE: u64 = 512 * 1024;
/// All that is read on one connection.
pub(super) const MOST_READ: u64 = 64 * 1024 * 1024;

/// Where the reader stands in what a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Anywhere in a line.
    Line,
    /// Behind `{` and these digits.
    Digits(u64),
    /// Behind `{n}`.
    Closed(u64),
    /// Behind `{n}` and CR.
    Cr(u64),
    /// So many bytes of a literal are left.
    Literal(u64),
}

/// Counts what is read, and ends the connection where it is more than a mail client needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    at: At,
    line: u64,
    read: u64,
}

/// The server sends more than is taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooMuch;

impl Meter {
    const fn new() -> Self {
        Self { at: At::Line, line: 0, read: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        self.read += bytes.len() as u64;
        if self.read > MOST_READ {
            return Err(TooMuch);
        }
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if let At::Literal(left) = self.at {
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                rest = rest.get(skipped..).unwrap_or_default();
                self.at = match left - skipped as u64 {
                    0 => At::Line,
                    left => At::Literal(left),
                };
                continue;
            }
            self.step(*first)?;
            rest = after;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), TooMuch> {
        self.line = if byte == b'\n' { 0 } else { self.line + 1 };
        if self.line > MOST_LINE {
            return Err(TooMuch);
        }
        self.at = match (self.at, byte) {
            (_, b'{') => At::Digits(0),
            (At::Digits(n), b'0'..=b'9') => {
                At::Digits(n.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (At::Digits(n), b'}') => At::Closed(n),
            (At::Closed(n), b'\r') => At::Cr(n),
            (At::Cr(n), b'\n') if n > MOST_LITERAL => return Err(TooMuch),
            (At::Cr(0), b'\n') => At::Line,
            (At::Cr(n), b'\n') => At::Literal(n),
            _ => At::Line,
        };
        Ok(())
    }
}

/// The connection.
pub(super) struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, meter: Meter::new() }
    }

    /// How many bytes were read.
    pub(super) const fn read(&self) -> u64 {
        self.meter.read
    }
}

/// Says nothing of what is read.
impl<S> fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let taken = self.meter.take(new);
        Poll::Ready(taken.map_err(|TooMuch| io::Error::other("the server sends too much")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn by_pieces(bytes: &[u8], piece: usize) -> Result<(), TooMuch> {
        let mut meter = Meter::new();
        bytes.chunks(piece).try_for_each(|chunk| meter.take(chunk))
    }

    #[rstest]
    #[case(b"* 1 FETCH (BODY[] {900000000}\r\n", false)]
    #[case(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n", false)]
    #[case(b"* 1 FETCH (BODY[] {20}\r\nx {900000000}\r\nabcd)\r\n", true)]
    #[case(b"* 1 FETCH (BODY[] {19}\r\nx {900000000}\r\nabcd {900000000}\r\n", false)]
    #[case(b"* OK {900000000} is only said\r\n", true)]
    #[case(b"* 1 FETCH (BODY[] {0}\r\n BODY[1] {900000000}\r\n", false)]
    fn an_announcement_is_refused_wherever_it_is_one(#[case] bytes: &[u8], #[case] taken: bool) {
        for piece in [1, 3, 1000] {
            assert_eq!(by_pieces(bytes, piece).is_ok(), taken, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_endless_line_and_an_endless_stream_are_refused() {
        assert_eq!(by_pieces(&vec![b'a'; 1024 * 1024], 4096), Err(TooMuch));
        let line = [vec![b'a'; 1023], vec![b'\n']].concat();
        let mut meter = Meter::new();
        let lines = (0..=MOST_READ / 1024).try_for_each(|_| meter.take(&line));
        assert_eq!(lines, Err(TooMuch));
    }
}
