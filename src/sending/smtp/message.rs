//! A message as it goes over the wire: line ends made whole and, behind DATA, dots doubled (RFC 5321, section 4.5.2). Pure.
//!
//! A lone CR or LF becomes a line end, for two reasons: RFC 5321, section 2.3.8, forbids them, and servers that
//! read a lone LF as a line end could be made to see a final dot inside the message ("SMTP smuggling").

/// Ends a message whose text ended with a line end; written on its own, last.
pub(super) const FINAL_DOT: &[u8] = b".\r\n";

/// A message up to this size is written in one go with its final dot; of a larger one the dot goes alone, and what follows
/// with it. An empty socket takes that much at once, so nothing comes between the last look at whether this process is alive
/// and the dot; and with what follows it is one record of TLS (RFC 8446, section 5.1), of which a server sees all or nothing.
pub(super) const LAST_PIECE: usize = 12 * 1024;

/// Whether a message may go out as one chunk. A server that promises chunks and does not read them may take what one says for
/// commands: with a lone dot in it, these could end a message of their own.
pub(super) fn fits_chunk(message: &[u8]) -> bool {
    let mut lines = message.split(|byte| matches!(byte, b'\r' | b'\n'));
    message.len() <= LAST_PIECE && !lines.any(|line| line == b".")
}

/// Writes the message as it goes behind DATA into `wire`, which is emptied first. The result is empty or ends with a line end.
pub(super) fn stuff(message: &[u8], wire: &mut Vec<u8>) {
    wire.clear();
    wire.reserve(message.len() + message.len() / 32 + 2);
    lines(message, true, wire);
}

/// Writes the whole message as one chunk, which says how long it is and ends by that (BDAT: RFC 3030, section 2), into `wire`,
/// which is emptied first.
pub(super) fn chunk(message: &[u8], wire: &mut Vec<u8>) {
    wire.clear();
    lines(message, false, wire);
    let command = format!("BDAT {} LAST\r\n", wire.len());
    wire.splice(..0, command.into_bytes());
}

fn lines(message: &[u8], double_dots: bool, wire: &mut Vec<u8>) {
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if double_dots && line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
        rest = match after {
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
            [] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut wire = b"left over".to_vec();
        stuff(message, &mut wire);
        wire
    }

    /// What a server makes of it: lines up to the lone dot, one leading dot taken off.
    fn received(wire: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let text = [wire, FINAL_DOT].concat();
        let mut lines = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line == b"." {
                return (lines, true);
            }
            lines.push(line.strip_prefix(b".").unwrap_or(line).to_vec());
        }
        (lines, false)
    }

    #[test]
    fn dots_are_doubled_and_line_ends_made_whole() {
        assert_eq!(stuffed(b"a\r\n.b\r\n..\r\n"), b"a\r\n..b\r\n...\r\n");
        assert_eq!(stuffed(b".\n.\r.\r\n."), b"..\r\n..\r\n..\r\n..\r\n");
        assert_eq!(stuffed(b"no end"), b"no end\r\n");
        assert_eq!(stuffed(b"a\r\r\nb"), b"a\r\n\r\nb\r\n");
        assert_eq!(stuffed(b""), b"");
    }

    #[test]
    fn a_chunk_says_how_long_it_is_and_doubles_nothing() {
        let mut wire = b"left over".to_vec();
        chunk(b"a\n.b\r\n.\r", &mut wire);
        assert_eq!(wire, b"BDAT 10 LAST\r\na\r\n.b\r\n.\r\n");
        chunk(b"", &mut wire);
        assert_eq!(wire, b"BDAT 0 LAST\r\n");
    }

    #[test]
    fn a_message_with_a_lone_dot_is_no_chunk() {
        let fitting: [&[u8]; 4] = [b"", b"a\r\n..\r\n", b"a.\r\n.b\r\n", b" .\r\n"];
        assert!(fitting.iter().all(|message| fits_chunk(message)));
        let lone: [&[u8]; 5] = [b".", b".\r\na", b"a\r\n.\r\nb", b"a\n.\nb", b"a\r."];
        assert!(!lone.iter().any(|message| fits_chunk(message)));
        assert!(fits_chunk(&[b'.'; LAST_PIECE]) && !fits_chunk(&[b'.'; LAST_PIECE + 1]));
    }

    proptest! {
        #[test]
        fn no_message_ends_itself_and_each_arrives_as_it_was(
            message in prop::collection::vec(prop::sample::select(b".\r\nab".to_vec()), 0..200)
        ) {
            let wire = stuffed(&message);
            prop_assert!(wire.is_empty() || wire.ends_with(b"\r\n"));
            let lone = wire.windows(2).any(|pair| pair.starts_with(b"\r") != pair.ends_with(b"\n"));
            prop_assert!(!lone && wire.first() != Some(&b'\n'));
            let (lines, ended) = received(&wire);
            prop_assert!(ended);
            let text = String::from_utf8(message).unwrap().replace("\r\n", "\n").replace('\r', "\n");
            let expected: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(lines, expected);
        }

        #[test]
        fn any_bytes_can_be_sent(message in prop::collection::vec(any::<u8>(), 0..300)) {
            let wire = stuffed(&message);
            let (lines, ended) = received(&wire);
            prop_assert!(ended && lines.len() <= message.len());
        }
    }
}
