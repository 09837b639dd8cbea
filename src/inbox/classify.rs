//! What is this mail? A pure decision on its bytes: an answer of a person or of a machine, a notice of a mail server, a
//! complaint, or nothing that concerns a campaign. Which delivery it is about is not decided here.

use mail_parser::{Message, MimeHeaders as _};

use super::{
    auto::{has_null_return_path, is_automatic},
    fields::{Field, message_ids, value},
    notice::{Complaint, Notice, Report, headers_of, read_report, read_words},
    parsed::parse,
};

/// A mail as far as campaigns are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its own Message-ID, to know our own mails by.
    pub message_id: Option<String>,
    /// Who wrote it, in lower case.
    pub from: Option<String>,
    /// The Message-IDs that it answers, the likeliest first: `In-Reply-To`, then `References` from the last to the first.
    pub answers: Vec<String>,
    /// What it is.
    pub kind: Kind,
}

/// What a mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person answers.
    Reply,
    /// A machine answers: out of office, a ticket system.
    AutoReply,
    /// A mail server says what became of a message, once per recipient.
    Notices(Vec<Notice>),
    /// A provider passes on that somebody called it spam.
    Complaint(Complaint),
    /// Anything else.
    Other,
}

/// Who writes notices, by the part before the `@`.
const SERVERS: [&str; 8] = [
    "mailer-daemon",
    "postmaster",
    "mail-daemon",
    "maildaemon",
    "mailerdaemon",
    "mdaemon",
    "mail-deamon",
    "mailsystem",
];

/// Whether the headers alone do not tell what a mail is. Only the bodies of such mails are fetched.
pub fn needs_body(headers: &[u8]) -> bool {
    parse(headers).is_some_and(|mail| {
        let fields = headers_of(&mail);
        is_report(&mail) || is_of_a_server(&mail, &fields)
    })
}

/// Says what a mail is. Bytes that are cut short are read as far as they go.
pub fn classify(bytes: &[u8]) -> Mail {
    let Some(mail) = parse(bytes) else {
        return Mail { message_id: None, from: None, answers: Vec::new(), kind: Kind::Other };
    };
    let fields = headers_of(&mail);
    let answers = answers(&fields);
    Mail {
        message_id: value(&fields, "message-id").and_then(|text| message_ids(text).pop()),
        from: author(&mail),
        kind: kind(&mail, &fields, &answers),
        answers,
    }
}

fn kind(mail: &Message<'_>, fields: &[Field], answers: &[String]) -> Kind {
    let subject = mail.subject().unwrap_or_default();
    if is_report(mail) {
        return match read_report(mail, fields) {
            Report::Delivery(notices) => Kind::Notices(notices),
            Report::Complaint(complaint) => Kind::Complaint(complaint),
            Report::Other => Kind::Other,
        };
    }
    if is_of_a_server(mail, fields) {
        if let Some(notice) = read_words(mail, fields, subject) {
            return Kind::Notices(vec![notice]);
        }
        // A postmaster may be a person; without an answer's marks it is nothing.
        if is_daemon(mail) || has_null_return_path(fields) {
            return Kind::Other;
        }
    }
    if answers.is_empty() {
        Kind::Other
    } else if is_automatic(fields, subject) {
        Kind::AutoReply
    } else {
        Kind::Reply
    }
}

fn is_report(mail: &Message<'_>) -> bool {
    mail.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
    })
}

fn is_of_a_server(mail: &Message<'_>, fields: &[Field]) -> bool {
    let by_name = author(mail).is_some_and(|from| {
        let local = from.split('@').next().unwrap_or_default();
        SERVERS.contains(&local)
    });
    by_name || value(fields, "x-failed-recipients").is_some()
}

fn is_daemon(mail: &Message<'_>) -> bool {
    author(mail).is_some_and(|from| from.contains("daemon") || from.contains("deamon"))
}

fn author(mail: &Message<'_>) -> Option<String> {
    let first = mail.from()?.first()?;
    Some(first.address.as_deref()?.trim().to_lowercase())
}

fn answers(fields: &[Field]) -> Vec<String> {
    let ids = |name: &str| value(fields, name).map(message_ids).unwrap_or_default();
    let mut answers = ids("in-reply-to");
    for id in ids("references").into_iter().rev() {
        if !answers.contains(&id) {
            answers.push(id);
        }
    }
    answers
}
