//! What an IMAP server answers, each response read whole before it is parsed, so that the server decides neither how much
//! memory that takes nor how deep the parser goes.
//!
//! A literal is taken out of its response and kept beside it: the parser is shown a quoted string in its place, and
//! nothing of what a mail says.

use std::panic::catch_unwind;

use imap_proto::Response;
use tokio::io::{AsyncBufRead, AsyncReadExt as _};

use crate::net::{VerifyError, read_line};

/// Longest literal (RFC 9051, section 4.3) that is taken.
pub(super) const MOST_LITERAL: u64 = 512 * 1024;
/// A whole response. The longest is the answer to a search, with about seven bytes for a mail.
const MOST_RESPONSE: usize = 2 * 1024 * 1024;
/// All that is read on one connection.
pub(super) const MOST_READ: u64 = 64 * 1024 * 1024;
/// Literals of a response; what is asked for has one.
const MOST_LITERALS: usize = 16;
/// Brackets that a response opens. What is asked for opens two; the parser goes one deeper with each.
const MOST_BRACKETS: usize = 64;

/// The server's side of a connection.
pub(super) struct Responses<R> {
    reader: R,
    read: u64,
}

/// A response as it came, but for its literals.
#[derive(Debug)]
pub(super) struct Whole {
    text: Vec<u8>,
    literals: Vec<Vec<u8>>,
}

impl<R: AsyncBufRead + Unpin> Responses<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, read: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }

    /// The connection, to write to.
    pub(super) const fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The next response.
    ///
    /// # Errors
    /// `ProtocolFailed` where the connection ends, or more comes than a mail client needs.
    pub(super) async fn next(&mut self) -> Result<Whole, VerifyError> {
        let most = usize::try_from(MOST_READ.saturating_sub(self.read)).unwrap_or(usize::MAX);
        let most = most.min(MOST_RESPONSE);
        let mut left = most;
        let (mut text, mut literals) = (Vec::new(), Vec::new());
        loop {
            let mut line = read_line(&mut self.reader, usize::MAX, &mut left).await?;
            let Some((before, length)) = announced(&line) else {
                text.append(&mut line);
                break;
            };
            left = left.checked_sub(length).ok_or(VerifyError::ProtocolFailed)?;
            if length as u64 > MOST_LITERAL || literals.len() >= MOST_LITERALS {
                return Err(VerifyError::ProtocolFailed);
            }
            line.truncate(before);
            text.append(&mut line);
            text.extend(format!("\"{}\"", name(literals.len())).bytes());
            let mut literal = vec![0; length];
            self.reader.read_exact(&mut literal).await.map_err(|_| VerifyError::ProtocolFailed)?;
            literals.push(literal);
        }
        text.extend(b"\r\n");
        self.read += (most - left) as u64;
        Ok(Whole { text, literals })
    }
}

impl Whole {
    /// What it says.
    ///
    /// # Errors
    /// `ProtocolFailed` where it is no response, or nested as no mail client needs it.
    pub(super) fn parse(&self) -> Result<Response<'_>, VerifyError> {
        if self.text.iter().filter(|byte| **byte == b'(').nth(MOST_BRACKETS).is_some() {
            return Err(VerifyError::ProtocolFailed);
        }
        // A promise of a reader of hostile bytes is not relied on.
        let parsed = catch_unwind(|| Response::parse(&self.text));
        match parsed {
            Ok(Ok((b"", response))) => Ok(response),
            _ => Err(VerifyError::ProtocolFailed),
        }
    }

    /// What the parser shows as `shown`: itself, or the literal for which it stands.
    pub(super) fn bytes<'a>(&'a self, shown: &'a [u8]) -> &'a [u8] {
        let mut literals = self.literals.iter().enumerate();
        let meant = literals.find(|(nth, _)| name(*nth).as_bytes() == shown);
        meant.map_or(shown, |(_, literal)| literal)
    }
}

/// What a literal is called where it stood.
fn name(nth: usize) -> String {
    format!("{{{nth}}}")
}

/// Where a line that ends in `{n}` announces a literal, and its length. Also in the forms `{n+}` and `~{n}` (RFC 7888, RFC
/// 3516), which no server need send.
fn announced(line: &[u8]) -> Option<(usize, usize)> {
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    let digits = line.get(open + 1..)?.strip_suffix(b"}")?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX);
    let before = line.get(..open)?;
    Some((before.strip_suffix(b"~").unwrap_or(before).len(), length))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use imap_proto::AttributeValue;
    use rstest::rstest;
    use tokio::io::BufReader;

    use super::*;

    /// The responses until the connection ends or is given up, read in pieces of `piece` bytes.
    async fn all(bytes: &[u8], piece: usize) -> Vec<Whole> {
        let mut responses = Responses::new(BufReader::with_capacity(piece, bytes));
        let mut found = Vec::new();
        while let Ok(whole) = responses.next().await {
            found.push(whole);
        }
        found
    }

    /// The bodies of a FETCH.
    fn bodies(whole: &Whole) -> Vec<Vec<u8>> {
        let Ok(Response::Fetch(_, attributes)) = whole.parse() else { return Vec::new() };
        let body = |attribute: &AttributeValue<'_>| {
            let AttributeValue::BodySection { data, .. } = attribute else { return None };
            Some(whole.bytes(data.as_deref().unwrap_or_default()).to_vec())
        };
        attributes.iter().filter_map(body).collect()
    }

    #[rstest]
    #[case(b"* 1 FETCH (UID 7 BODY[HEADER]<0> {8}\r\n{9}\r\n(\"()\r\n", &["{9}\r\n(\"("])]
    #[case(b"* 1 FETCH (BODY[1] {1+}\r\na BODY[2] ~{2}\r\nbc BODY[3] \"d\" BODY[4] NIL)\r\n", &["a", "bc", "d", ""])]
    #[case(b"* 1 FETCH (BODY[1] {0}\r\n BODY[2] \"{0}\" BODY[3] \"{1}\")\r\n", &["", "", "{1}"])]
    #[tokio::test]
    async fn a_literal_is_what_it_was_whatever_it_holds(#[case] bytes: &[u8], #[case] held: &[&str]) {
        for piece in [1, 3, 1000] {
            let found = all(&[bytes, b"* 2 EXISTS\r\n"].concat(), piece).await;
            assert_eq!(found.len(), 2, "in pieces of {piece}");
            let bodies = bodies(found.first().unwrap());
            let bodies: Vec<_> = bodies.iter().map(|body| str::from_utf8(body).unwrap()).collect();
            assert_eq!(bodies, held, "in pieces of {piece}");
            assert!(found.last().unwrap().parse().is_ok());
        }
    }

    #[rstest]
    #[case::far_too_long(b"* 1 FETCH (BODY[] {900000000}\r\n", 0)]
    #[case::without_end(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n", 0)]
    #[case::behind_an_empty_one(b"* 1 FETCH (BODY[] {0}\r\n BODY[1] {900000000}\r\n", 0)]
    #[case::a_little_too_long(b"* 1 FETCH (BODY[] {524289}\r\n", 0)]
    #[case::in_the_middle_of_a_line(b"* OK {900000000} is only said\r\n", 1)]
    #[case::with_no_number(b"* OK {a}\r\n", 1)]
    #[tokio::test]
    async fn an_announcement_counts_at_the_end_of_a_line(#[case] bytes: &[u8], #[case] responses: usize) {
        // Enough for whatever is taken.
        let bytes = [bytes, &vec![b'a'; 600 * 1024]].concat();
        assert_eq!(all(&bytes, 4096).await.len(), responses);
    }

    #[tokio::test]
    async fn what_is_announced_within_a_literal_is_never_made_room_for() {
        let text = b"* OK {40}\r\n* 1 FETCH (BODY[] {536000000}\r\nabcdefgh\r\n* 2 EXISTS\r\n";
        let found = all(text, 1000).await;
        assert_eq!(found.iter().map(|whole| whole.literals.len()).collect::<Vec<_>>(), [1, 0]);
    }

    #[tokio::test]
    async fn an_endless_line_endless_literals_and_an_endless_stream_are_refused() {
        let read = |bytes: Vec<u8>| async move {
            let mut responses = Responses::new(bytes.as_slice());
            while responses.next().await.is_ok() {}
            responses.reader.len()
        };
        assert!(read(vec![b'a'; MOST_RESPONSE + 10]).await > 0);
        assert!(read(b"x {1}\r\na".repeat(MOST_LITERALS + 10)).await > 0);
        let line = [vec![b'a'; 1023], vec![b'\n']].concat();
        let all = usize::try_from(MOST_READ).unwrap();
        assert_eq!(read(line.repeat(all / 1024 + 5)).await, 5 * 1024);
    }

    /// A stack that overflows ends the process, whoever catches what.
    #[rstest]
    #[case::bodies(b"* 1 FETCH (BODYSTRUCTURE ", b"(")]
    #[case::extensions(
        b"* 1 FETCH (BODYSTRUCTURE (\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL NIL NIL NIL ",
        b"("
    )]
    #[case::threads(b"* THREAD ", b"(")]
    #[case::between_strings(b"* 1 FETCH (BODYSTRUCTURE ", b"(\")\" ")]
    #[tokio::test]
    async fn what_is_nested_is_not_followed(#[case] before: &[u8], #[case] again: &[u8]) {
        let text = [before, &again.repeat(200_000), b"\r\n"].concat();
        let found = all(&text, 4096).await;
        assert_eq!(found.first().unwrap().parse().err(), Some(VerifyError::ProtocolFailed));
    }

    #[rstest]
    #[case::panics_the_parser("* OK [UNSEEN 1]\u{e9}\r\n".as_bytes())]
    #[case::no_response(b"\0\xff\r\n")]
    #[case::nothing(b"\r\n")]
    #[tokio::test]
    async fn what_is_no_response_is_an_error(#[case] bytes: &[u8]) {
        let found = all(bytes, 1000).await;
        assert_eq!(found.first().unwrap().parse().err(), Some(VerifyError::ProtocolFailed));
    }
}
