//! Reads notices of mail servers: delivery status notifications (RFC 3464), those that follow no standard, and
//! complaints (RFC 5965). Pure. Nothing here is trusted: what a notice says counts only where it names one delivery by
//! its Message-ID and its recipient.

use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};

use super::{
    fields::{Field, address, groups, message_ids, one_line, typed_address, value},
    parsed::parse,
};

/// Most messages that a notice may be about: a mail may return thousands, and each is looked for.
const ORIGINALS: usize = 100;
/// Longest reason that is kept, in bytes.
const REASON: usize = 500;
/// Recipients of one notice that are looked at.
const MOST_RECIPIENTS: usize = 50;

/// What a mail server says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What became of the message.
    pub action: Action,
    /// The recipient as the server knows it, and as it was written to, in lower case.
    pub recipients: Vec<String>,
    /// The server's words.
    pub reason: String,
    /// What the message was called, the likeliest first.
    pub originals: Vec<String>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up. A full mailbox and time that ran out too: whoever writes this does not try again.
    Failed,
    /// Tried again later.
    Delayed,
    /// Delivered or passed on.
    Arrived,
}

/// Somebody told their provider that a message was spam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Who, in lower case; providers often leave it out.
    pub recipients: Vec<String>,
    /// What the message was called.
    pub originals: Vec<String>,
}

/// A report by its type (`report-type` of `multipart/report`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Of delivery.
    Delivery(Vec<Notice>),
    /// Of spam.
    Complaint(Complaint),
    /// A receipt, or nothing known.
    Other,
}

/// Reads a `multipart/report`.
pub(super) fn read_report(mail: &Message<'_>, headers: &[Field]) -> Report {
    if let Some(feedback) = part_text(mail, "feedback-report") {
        return read_complaint(mail, &feedback);
    }
    let Some(status) =
        part_text(mail, "delivery-status").or_else(|| part_text(mail, "global-delivery-status"))
    else {
        return Report::Other;
    };
    let originals = originals(mail, headers);
    let failed = failed_recipients(headers);
    let notices = groups(&status)
        .into_iter()
        .filter(|group| value(group, "action").is_some() || value(group, "final-recipient").is_some())
        .take(MOST_RECIPIENTS)
        .filter_map(|group| of_recipient(&group, &originals, &failed))
        .collect();
    Report::Delivery(notices)
}

/// One group of a delivery status. Exchange of old leaves out the action; its status tells then.
fn of_recipient(group: &[Field], originals: &[String], failed: &[String]) -> Option<Notice> {
    let status = value(group, "status").unwrap_or_default();
    let action = match value(group, "action").unwrap_or_default().to_ascii_lowercase().as_str() {
        word if word.starts_with("failed") => Action::Failed,
        word if word.starts_with("delayed") => Action::Delayed,
        word if ["delivered", "relayed", "expanded"].iter().any(|known| word.starts_with(known)) => {
            Action::Arrived
        }
        "" if status.starts_with('5') => Action::Failed,
        _ => return None,
    };
    let mut recipients: Vec<String> = ["original-recipient", "final-recipient", "x-actual-recipient"]
        .iter()
        .filter_map(|name| typed_address(value(group, name)?))
        .collect();
    if recipients.is_empty() && action == Action::Failed {
        recipients = failed.to_vec();
    }
    recipients.dedup();
    let words = value(group, "diagnostic-code").filter(|code| !code.is_empty());
    // `smtp; 550 …`: the type says nothing to people.
    let words = words.map(|code| code.split_once(';').map_or(code, |(_, text)| text));
    let reason = match words {
        Some(words) if words.trim().is_empty() => status.to_owned(),
        Some(words) => words.to_owned(),
        None => status.to_owned(),
    };
    Some(Notice { action, recipients, reason: one_line(&reason, REASON), originals: originals.to_vec() })
}

fn read_complaint(mail: &Message<'_>, feedback: &str) -> Report {
    let fields: Vec<Field> = groups(feedback).into_iter().flatten().collect();
    let kind = value(&fields, "feedback-type").unwrap_or_default().to_ascii_lowercase();
    if !["abuse", "fraud", "opt-out", "opt-out-list", "other"].contains(&kind.as_str()) {
        return Report::Other;
    }
    let named = |name: &str| {
        fields
            .iter()
            .filter(|(known, _)| known == name)
            .filter_map(|(_, text)| address(text))
            .collect::<Vec<_>>()
    };
    let mut recipients = named("original-rcpt-to");
    let mut originals = Vec::new();
    for fields in returned(mail) {
        if recipients.is_empty() {
            recipients.extend(value(&fields, "to").and_then(address));
        }
        originals.extend(value(&fields, "message-id").map(message_ids).unwrap_or_default());
    }
    originals.truncate(ORIGINALS);
    Report::Complaint(Complaint { recipients, originals })
}

/// Reads what a mail server wrote in words of its own (qmail, Exim, Exchange of old). `None`: it is not clear that it
/// gave up, and so nothing is concluded.
pub(super) fn read_words(mail: &Message<'_>, headers: &[Field], subject: &str) -> Option<Notice> {
    let text = mail.body_text(0).unwrap_or_default();
    let failed = failed_recipients(headers);
    let said = format!("{subject}\n{}", before_copy(&text)).to_lowercase();
    let action = if WAITS.iter().any(|words| said.contains(words)) {
        Action::Delayed
    } else if !failed.is_empty() || GIVES_UP.iter().any(|words| said.contains(words)) {
        Action::Failed
    } else {
        return None;
    };
    let (mut recipients, reason) = named_in_words(before_copy(&text));
    recipients.extend(failed);
    recipients.truncate(MOST_RECIPIENTS);
    let mut originals = originals(mail, headers);
    originals.extend(text.lines().filter_map(id_line).flat_map(message_ids));
    originals.truncate(ORIGINALS);
    Some(Notice { action, recipients, reason: one_line(&reason, REASON), originals })
}

/// What says that the server still tries.
const WAITS: [&str; 8] = [
    "not yet been delivered",
    "will be retried",
    "will keep trying",
    "still trying",
    "delivery delayed",
    "delivery is delayed",
    "has been delayed",
    "this is a warning message only",
];

/// What says that it gave up.
const GIVES_UP: [&str; 14] = [
    "permanent error",
    "permanent fatal error",
    "could not be delivered",
    "wasn't able to deliver",
    "was not able to deliver",
    "unable to deliver",
    "couldn't be delivered",
    "did not reach",
    "delivery has failed",
    "delivery failed",
    "delivery failure",
    "undeliverable",
    "undelivered mail returned",
    "failure notice",
];

/// Where servers begin the copy of the message.
const COPIES: [&str; 5] = [
    "below this line is a copy of the message",
    "this is a copy of the message",
    "original message headers",
    "----- original message",
    "original message follows",
];

fn before_copy(text: &str) -> &str {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.to_lowercase();
        if COPIES.iter().any(|words| lower.contains(words)) {
            return text.get(..at).unwrap_or(text);
        }
        at += line.len();
    }
    text
}

/// The recipients that the words name, and what is said of the first.
fn named_in_words(text: &str) -> (Vec<String>, String) {
    let (mut recipients, mut reason) = (Vec::new(), String::new());
    for paragraph in text.replace("\r\n", "\n").split("\n\n") {
        let before = recipients.len();
        recipients.extend(paragraph.split_whitespace().filter_map(address));
        if before == 0 && !recipients.is_empty() {
            paragraph.clone_into(&mut reason);
        }
    }
    (recipients, reason)
}

fn id_line(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['>', '|', ' ', '\t']);
    let head = line.get(..11)?;
    head.eq_ignore_ascii_case("message-id:").then(|| line.get(11..)).flatten()
}

/// `X-Failed-Recipients` of Exim and Gmail.
fn failed_recipients(headers: &[Field]) -> Vec<String> {
    let lists = headers.iter().filter(|(name, _)| name == "x-failed-recipients");
    lists.flat_map(|(_, list)| list.split(',')).filter_map(address).take(MOST_RECIPIENTS).collect()
}

/// What the returned message was called: its own Message-ID, then what the notice answers.
fn originals(mail: &Message<'_>, headers: &[Field]) -> Vec<String> {
    let mut ids: Vec<String> = returned(mail)
        .iter()
        .filter_map(|fields| value(fields, "message-id"))
        .flat_map(message_ids)
        .collect();
    for name in ["in-reply-to", "references"] {
        ids.extend(value(headers, name).map(message_ids).unwrap_or_default().into_iter().rev());
    }
    ids.truncate(ORIGINALS);
    ids
}

/// The headers of the messages that are returned with a notice, whole or in part.
fn returned(mail: &Message<'_>) -> Vec<Vec<Field>> {
    mail.parts.iter().filter_map(returned_headers).collect()
}

fn returned_headers(part: &MessagePart<'_>) -> Option<Vec<Field>> {
    match &part.body {
        PartType::Message(message) => Some(headers_of(message)),
        PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_)
            if has_subtype(part, "rfc822-headers")
                || has_subtype(part, "global-headers")
                || has_subtype(part, "rfc822") =>
        {
            parse(part.contents()).map(|message| headers_of(&message))
        }
        PartType::Text(_)
        | PartType::Html(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Multipart(_) => None,
    }
}

/// The fields of a message as they were written, unfolded.
pub(super) fn headers_of(message: &Message<'_>) -> Vec<Field> {
    let one = |(name, raw): (&str, &str)| {
        (name.to_ascii_lowercase(), raw.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    message.headers_raw().map(one).collect()
}

fn has_subtype(part: &MessagePart<'_>, subtype: &str) -> bool {
    let kind = part.content_type().and_then(|kind| kind.subtype());
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(subtype))
}

fn part_text(mail: &Message<'_>, subtype: &str) -> Option<String> {
    let part = mail.parts.iter().find(|part| has_subtype(part, subtype))?;
    Some(String::from_utf8_lossy(part.contents()).into_owned())
}
