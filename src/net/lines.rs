//! Reading one line of a line-based protocol without letting the remote choose how much memory that takes.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Why no line was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// The connection ended, in whatever way.
    Closed,
    /// The remote sent more than the budget allows.
    TooMuch,
}

impl From<io::Error> for LineError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads up to the next line feed and returns the line without its end. Bytes past `keep` are read and dropped;
/// every byte is taken off `budget`, and a line that would overdraw it is an error.
pub(crate) async fn read_line<R>(
    reader: &mut R,
    keep: usize,
    budget: &mut usize,
) -> Result<Vec<u8>, LineError>
where
    R: AsyncBufRead + Unpin,
{
    let mut line = Vec::new();
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Err(LineError::Closed);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |at| at + 1);
        *budget = budget.checked_sub(taken).ok_or(LineError::TooMuch)?;
        let room = keep.saturating_sub(line.len());
        line.extend(bytes.iter().take(end.unwrap_or(taken).min(room)));
        reader.consume(taken);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(text: &[u8], keep: usize, mut budget: usize) -> Vec<Result<Vec<u8>, LineError>> {
        let mut reader = BufReader::with_capacity(4, text);
        let mut read = Vec::new();
        loop {
            let line = read_line(&mut reader, keep, &mut budget).await;
            let last = line.is_err();
            read.push(line);
            if last {
                return read;
            }
        }
    }

    #[tokio::test]
    async fn lines_lose_either_line_end() {
        let read = lines(b"250-one\r\n250 two\n250 thr", 99, 999).await;
        assert_eq!(read, [Ok(b"250-one".to_vec()), Ok(b"250 two".to_vec()), Err(LineError::Closed)]);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_an_endless_one_refused() {
        let read = lines(b"abcdefghij\r\nx\n", 3, 999).await;
        assert_eq!(read, [Ok(b"abc".to_vec()), Ok(b"x".to_vec()), Err(LineError::Closed)]);
        assert_eq!(lines(&[b'a'; 9000], 3, 100).await, [Err(LineError::TooMuch)]);
    }
}
