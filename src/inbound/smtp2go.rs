//! What a webhook of SMTP2GO says. Pure. Its fields are others' choice: unknown ones are allowed, names are compared
//! without regard to case and punctuation (`Message-Id`, `message_id`), and what is not understood is ignored.

use std::collections::HashMap;

use serde_json::Value as Json;

/// The longest reason that is kept, in bytes, as of a server's reply.
const MOST_REASON: usize = 500;
/// Longer than any id or address.
const MOST_TEXT: usize = 998;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It will never arrive, with the reason.
    Bounced(String),
    /// The recipient called it spam, or wants no more.
    Unsubscribed,
}

/// An event that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub what: What,
    /// The message's Message-ID, without brackets.
    pub message_id: Option<String>,
    /// What the provider's server called the message in its reply.
    pub provider_id: Option<String>,
    /// To whom it went.
    pub recipient: Option<String>,
}

/// The body is neither a JSON object nor a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Reads a body; None for an event that changes nothing.
///
/// # Errors
/// [`Unreadable`].
pub fn read(content_type: &str, body: &[u8]) -> Result<Option<Report>, Unreadable> {
    let fields = if content_type.to_ascii_lowercase().contains("json") || body.starts_with(b"{") {
        of_json(body)?
    } else {
        of_form(body)?
    };
    Ok(report(&fields))
}

type Fields = HashMap<String, String>;

fn of_json(body: &[u8]) -> Result<Fields, Unreadable> {
    let Ok(Json::Object(object)) = serde_json::from_slice(body) else { return Err(Unreadable) };
    let fields = object.into_iter().filter_map(|(name, value)| Some((plain(&name), text(value)?)));
    Ok(fields.collect())
}

fn of_form(body: &[u8]) -> Result<Fields, Unreadable> {
    if std::str::from_utf8(body).is_err() {
        return Err(Unreadable);
    }
    Ok(form_urlencoded::parse(body).map(|(name, value)| (plain(&name), value.into_owned())).collect())
}

fn text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        Json::Array(items) => items.into_iter().next().and_then(text),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Object(_) => None,
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn report(fields: &Fields) -> Option<Report> {
    // PostgreSQL stores no NUL, and nothing else of them means anything here.
    let field = |name: &str| -> Option<String> {
        let kept: String = fields.get(name)?.chars().filter(|letter| !letter.is_control()).collect();
        let kept = kept.trim();
        (!kept.is_empty() && kept.len() <= MOST_TEXT).then(|| kept.to_owned())
    };
    let kind = field("bounce").or_else(|| field("bouncetype")).unwrap_or_default().to_ascii_lowercase();
    let what = match field("event")?.to_ascii_lowercase().as_str() {
        "bounce" | "bounced" if !kind.starts_with("soft") => What::Bounced(reason(fields)),
        "spam" | "unsubscribe" | "unsubscribed" => What::Unsubscribed,
        _ => return None,
    };
    let recipient = ["rcpt", "recipient", "email", "to"].into_iter().find_map(field);
    Some(Report {
        what,
        message_id: field("messageid").map(|id| id.trim_matches(['<', '>']).to_owned()),
        provider_id: field("emailid"),
        recipient: recipient.filter(|address| address.contains('@')),
    })
}

/// The server's words, on one line.
fn reason(fields: &Fields) -> String {
    let words = ["message", "context", "reason"].into_iter().find_map(|name| {
        let line = fields.get(name)?.split(|c: char| c.is_whitespace() || c.is_control());
        let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then_some(line)
    });
    let mut words = words.unwrap_or_else(|| "The mail provider reports a hard bounce".to_owned());
    let end = (0..=MOST_REASON.min(words.len())).rev().find(|at| words.is_char_boundary(*at));
    words.truncate(end.unwrap_or(0));
    words
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn a_hard_bounce_reads_the_same_from_json_and_from_a_form() {
        let json = br#"{"event":"bounce","bounce":"hard","rcpt":"Ada@example.test","email_id":"1abc-DEF-2",
            "Message-Id":"<one@sender.test>","context":"RCPT TO","message":"550 5.1.1\r\n no such user","new_field":{}}"#;
        let form = b"event=bounce&bounce=hard&rcpt=Ada%40example.test&email_id=1abc-DEF-2\
            &message-id=%3Cone%40sender.test%3E&message=550+5.1.1%0D%0A+no+such+user&x=y";
        let expected = Report {
            what: What::Bounced("550 5.1.1 no such user".into()),
            message_id: Some("one@sender.test".into()),
            provider_id: Some("1abc-DEF-2".into()),
            recipient: Some("Ada@example.test".into()),
        };
        assert_eq!(read(JSON, json).unwrap().as_ref(), Some(&expected));
        assert_eq!(read(FORM, form).unwrap(), Some(expected));
    }

    #[test]
    fn other_events_and_soft_bounces_change_nothing() {
        for event in ["processed", "delivered", "open", "click", "reject", "resubscribe", ""] {
            let body = format!(r#"{{"event":"{event}","rcpt":"ada@example.test"}}"#);
            assert_eq!(read(JSON, body.as_bytes()), Ok(None), "{event}");
        }
        assert_eq!(read(FORM, b"event=bounce&bounce=soft&rcpt=a%40b.test"), Ok(None));
        assert_eq!(read(FORM, b""), Ok(None));
        for event in ["spam", "unsubscribe"] {
            let body = format!("event={event}&rcpt=a%40b.test");
            assert_eq!(read(FORM, body.as_bytes()).unwrap().unwrap().what, What::Unsubscribed);
        }
    }

    #[test]
    fn what_is_neither_is_unreadable() {
        for body in [&b"{"[..], b"[1]", b"\"text\""] {
            assert_eq!(read(JSON, body), Err(Unreadable));
        }
        assert_eq!(read(FORM, b"event=\xff"), Err(Unreadable));
    }

    #[test]
    fn words_are_kept_short_and_clean() {
        let long = format!(r#"{{"event":"bounce","message":"{}\u0000é"}}"#, "é".repeat(400));
        let Some(Report { what: What::Bounced(reason), .. }) = read(JSON, long.as_bytes()).unwrap() else {
            unreachable!("a bounce")
        };
        assert_eq!(reason.len(), MOST_REASON);
    }
}
