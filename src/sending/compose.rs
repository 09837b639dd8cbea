//! Composing: a rendered step becomes the bytes of one mail, as they go on the wire.
//!
//! Pure: the date and the Message-ID are given. Headers tell nothing of us. Lines end in CR LF, are at most 998
//! bytes long and hold ASCII only; everything else is encoded. Dot-stuffing is the transport's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use email_encoding::headers::{rfc2047, writer::EmailWriter};
use lettre::Address;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Date, From, HeaderName, HeaderValue, MIME_VERSION_1_0, To,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use uuid::Uuid;

use super::render::Rendered;
use crate::clock::Timestamp;
use crate::models::{EmailAddress, HeaderText, deliveries};

/// Longest line that is left as it is; the standard's limit is 998 (RFC 5322 section 2.1.1).
const LINE_BYTES: usize = 900;
/// Longest word of a subject that is left unencoded: only between words can a header be folded.
const WORD_BYTES: usize = 60;

/// Everything that makes one mail.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Our own id, with its angle brackets: see [`message_id`].
    pub message_id: &'a str,
    /// The credential's address.
    pub from: &'a EmailAddress,
    /// The credential's name.
    pub from_name: &'a HeaderText,
    /// The contact.
    pub to: &'a EmailAddress,
    /// Subject and bodies.
    pub rendered: &'a Rendered,
    /// The Message-IDs of the enrollment's earlier steps, oldest first; empty for the first step.
    pub earlier: &'a [String],
    /// When it is composed.
    pub date: Timestamp,
    /// The recipient's unsubscribe address, for one click (RFC 8058).
    pub unsubscribe: &'a str,
}

/// A mail, ready for DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// Headers and body, ending in CR LF, not dot-stuffed.
    pub bytes: Vec<u8>,
}

/// Why a letter cannot become a mail: a fault of ours, since every part was parsed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// A Message-ID or link with white space or anything but visible ASCII.
    #[error("a header would hold what headers cannot")]
    UnsafeHeader,
    /// An address that the mail library does not take.
    #[error("an address does not fit a mail")]
    Address,
    /// The mail library gave up.
    #[error("the mail library failed")]
    Library,
}

/// `<uuid@domain>`, the domain being the sender's. Made once for a delivery and kept for all its attempts.
pub fn message_id(delivery: Uuid, from: &EmailAddress) -> String {
    deliveries::message_id(delivery, from.domain())
}

/// Composes the mail.
///
/// # Errors
/// Only for what no parsed input leads to; the delivery cannot go out as it is.
pub fn compose(letter: &Letter<'_>) -> Result<Composed, ComposeError> {
    // The mail library panics on what it cannot write; a lane must outlive that.
    catch_unwind(AssertUnwindSafe(|| build(letter))).unwrap_or(Err(ComposeError::Library))
}

/// lettre's parts without its message builder, which parses the headers that it has just written again.
fn build(letter: &Letter<'_>) -> Result<Composed, ComposeError> {
    let boundary = letter.message_id.get(1..33).ok_or(ComposeError::UnsafeHeader)?;
    let content_type = format!("multipart/alternative; boundary=\"=_{boundary}\"");
    let content_type = ContentType::parse(&content_type).map_err(|_| ComposeError::UnsafeHeader)?;
    let mut mail = MultiPart::builder()
        .header(From::from(lettre::message::Mailboxes::from(Mailbox::new(
            Some(letter.from_name.as_str().to_owned()),
            address(letter.from)?,
        ))))
        .header(To::from(lettre::message::Mailboxes::from(Mailbox::new(None, address(letter.to)?))))
        .build();
    let headers = mail.headers_mut();
    headers.insert_raw(subject(&letter.rendered.subject));
    headers.set(Date::new(system_time(letter.date)));
    let mut ready = |name, value| headers.insert_raw(encoded(name, value));
    ready("Message-ID", ascii(letter.message_id)?.to_owned());
    if let Some(last) = letter.earlier.last() {
        let earlier = letter.earlier.iter().map(|id| ascii(id)).collect::<Result<Vec<_>, _>>()?;
        ready("In-Reply-To", ascii(last)?.to_owned());
        ready("References", earlier.join("\r\n "));
    }
    ready("List-Unsubscribe", format!("<{}>", ascii(letter.unsubscribe)?));
    ready("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned());
    headers.set(MIME_VERSION_1_0);
    headers.set(content_type);
    let mail = mail
        .singlepart(part(ContentType::TEXT_PLAIN, &letter.rendered.text))
        .singlepart(part(ContentType::TEXT_HTML, &letter.rendered.html));
    Ok(Composed { bytes: mail.formatted() })
}

fn address(address: &EmailAddress) -> Result<Address, ComposeError> {
    address.as_str().parse().map_err(|_| ComposeError::Address)
}

/// What may stand in a header as it is: visible ASCII on one line, short enough not to be folded.
fn ascii(text: &str) -> Result<&str, ComposeError> {
    let fits = text.len() <= LINE_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text) } else { Err(ComposeError::UnsafeHeader) }
}

fn encoded(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

/// Folded where it is plain text, else encoded as a whole (RFC 2047): also where a value looks like an encoded
/// word, which the reader would decode, and where a word is too long to be folded.
fn subject(text: &str) -> HeaderValue {
    const NAME: &str = "Subject";
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !text.contains("=?")
        && text.split(' ').all(|word| word.len() <= WORD_BYTES)
        && !text.contains("   ");
    let mut value = String::with_capacity(text.len().saturating_mul(2));
    let mut writer = EmailWriter::new(&mut value, NAME.len().saturating_add(2), 0, false);
    let written = if is_plain {
        std::fmt::Write::write_str(&mut writer.folding(), text)
    } else {
        rfc2047::encode(text, &mut writer)
    };
    drop(writer);
    if written.is_err() {
        value.clear();
    }
    encoded(NAME, value)
}

fn system_time(moment: Timestamp) -> SystemTime {
    let since_epoch = Duration::from_secs(u64::try_from(moment.seconds()).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn part(content_type: ContentType, text: &str) -> SinglePart {
    SinglePart::builder().header(content_type).body(body(text))
}

/// Plain ASCII of short lines goes as it is, which is smallest and cheapest; the rest as the library chooses,
/// quoted-printable or base64.
fn body(text: &str) -> Body {
    let text = wire_text(text);
    if text.is_ascii() && text.split('\n').all(|line| line.len() <= LINE_BYTES) {
        Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text)
    }
}

/// CR LF for every line end, and no other control characters but tabs: a lone CR or LF is read differently from
/// server to server (RFC 5321 section 2.3.8).
fn wire_text(text: &str) -> String {
    let mut wire = String::with_capacity(text.len().saturating_add(text.len() / 16).saturating_add(16));
    let mut rest = text;
    while let Some(at) = rest.find(|char: char| char.is_ascii_control() && char != '\t') {
        let (line, control) = rest.split_at(at);
        wire.push_str(line);
        if let Some(after) = control.strip_prefix("\r\n").or_else(|| control.strip_prefix(['\r', '\n'])) {
            wire.push_str("\r\n");
            rest = after;
        } else {
            rest = control.get(1..).unwrap_or_default();
        }
    }
    wire.push_str(rest);
    wire
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
