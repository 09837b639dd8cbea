//! A message as the sink got it, and how to look into it.

use std::time::SystemTime;

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders};

/// One message whose final dot was read.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its number in this sink, from 1, in the order of the final dots (refused ones count too).
    pub id: u64,
    /// The connection that brought it ([`super::Connection::id`]).
    pub connection: u64,
    /// The envelope sender; empty for `MAIL FROM:<>`.
    pub from: String,
    /// The envelope recipients that were accepted.
    pub recipients: Vec<String>,
    /// When the final dot was read.
    pub received_at: SystemTime,
    /// Header and body as they were written, dots not doubled.
    pub raw: Bytes,
}

impl Message {
    /// The parsed message; none when it has no header at all.
    pub fn parsed(&self) -> Option<mail_parser::Message<'_>> {
        MessageParser::default().parse(self.raw.as_ref())
    }

    /// Whether `address` is among the envelope recipients.
    pub fn is_to(&self, address: &str) -> bool {
        self.recipients.iter().any(|it| it.eq_ignore_ascii_case(address))
    }

    /// The decoded subject.
    pub fn subject(&self) -> Option<String> {
        self.parsed()?.subject().map(str::to_owned)
    }

    /// The Message-ID without its angle brackets.
    pub fn message_id(&self) -> Option<String> {
        let raw = raw_header(&self.raw, b"message-id")?;
        let id = String::from_utf8_lossy(raw).into_owned();
        Some(id.trim_matches(['<', '>']).to_owned())
    }

    /// The first header of this name as it was written: not decoded, folds kept, ends trimmed.
    pub fn header(&self, name: &str) -> Option<String> {
        raw_header(&self.raw, name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many headers of this name there are.
    pub fn header_count(&self, name: &str) -> usize {
        let named = |header: &&mail_parser::Header<'_>| header.name().eq_ignore_ascii_case(name);
        self.parsed().map_or(0, |message| message.headers().iter().filter(named).count())
    }

    /// The decoded text part; none when there is only HTML.
    pub fn text(&self) -> Option<String> {
        self.part("plain")
    }

    /// The decoded HTML part; none when there is only text.
    pub fn html(&self) -> Option<String> {
        self.part("html")
    }

    /// The first `text/<subtype>` part; mail-parser's own `body_text` would derive one from the other.
    fn part(&self, subtype: &str) -> Option<String> {
        let message = self.parsed()?;
        // RFC 2045 section 5.2: without a Content-Type it is text/plain.
        let is_it = |part: &&mail_parser::MessagePart<'_>| {
            part.content_type().map_or(subtype == "plain", |kind| {
                kind.ctype().eq_ignore_ascii_case("text") && kind.subtype() == Some(subtype)
            })
        };
        let part = message.parts.iter().find(is_it)?;
        part.text_contents().map(str::to_owned)
    }
}

/// The first header of this name, found without parsing the rest: the tally reads every message's.
pub(super) fn raw_header<'a>(raw: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = raw;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, after) = rest.split_at(field_length(rest));
        let value = field.split_at_checked(name.len()).filter(|(it, _)| it.eq_ignore_ascii_case(name));
        if let Some(value) = value.and_then(|(_, value)| value.strip_prefix(b":")) {
            return Some(value.trim_ascii());
        }
        rest = after;
    }
    None
}

/// The length of the first header field with its folded lines (RFC 5322 section 2.2.3).
fn field_length(header: &[u8]) -> usize {
    let starts_next = |at: &usize| !matches!(header.get(*at), Some(b' ' | b'\t'));
    memchr::memchr_iter(b'\n', header).map(|end| end + 1).find(starts_next).unwrap_or(header.len())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn message(raw: &'static str) -> Message {
        Message {
            id: 1,
            connection: 1,
            from: String::new(),
            recipients: Vec::new(),
            received_at: SystemTime::UNIX_EPOCH,
            raw: Bytes::from_static(raw.as_bytes()),
        }
    }

    #[test]
    fn both_parts_the_subject_and_headers_can_be_read() {
        let message = message(
            "Message-ID: <a@b>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Fold: one\r\n two\r\n\
             Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\
             plain\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--b--\r\n",
        );
        assert_eq!(message.subject().unwrap(), "Grüße");
        assert_eq!(message.message_id().unwrap(), "a@b");
        assert_eq!(message.header("x-fold").unwrap(), "one\r\n two");
        assert_eq!(message.header_count("subject"), 1);
        assert_eq!(message.text().unwrap(), "plain");
        assert_eq!(message.html().unwrap(), "<p>rich</p>");
    }

    #[test]
    fn a_message_without_html_has_none() {
        let message = message("Subject: a\r\n\r\nMessage-ID: <in@body>\r\n");
        assert_eq!(message.html(), None);
        assert_eq!(message.message_id(), None);
        assert_eq!(message.text().unwrap().trim_end(), "Message-ID: <in@body>");
    }
}
