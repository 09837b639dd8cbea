#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mail_parser::{HeaderValue as ParsedValue, Message, MessageParser, MimeHeaders};
use proptest::prelude::*;

use super::*;

fn rendered(subject: &str, html: &str, text: &str) -> Rendered {
    Rendered {
        subject: HeaderText::flatten(subject, 998).to_string(),
        html: html.to_owned(),
        text: text.to_owned(),
    }
}

fn from() -> EmailAddress {
    EmailAddress::parse("me@sender.example").unwrap()
}

fn compose_with(from_name: &str, rendered: &Rendered, earlier: &[String]) -> Vec<u8> {
    let from = from();
    let to = EmailAddress::parse("Jo@Example.com").unwrap();
    let letter = Letter {
        message_id: &message_id(Uuid::from_u128(7), &from),
        from: &from,
        from_name: &HeaderText::parse(from_name, 255).unwrap(),
        to: &to,
        rendered,
        earlier,
        date: "2026-04-27T10:00:00Z".parse().unwrap(),
        unsubscribe: "https://x.test/u/abc",
    };
    compose(&letter).unwrap().bytes
}

fn parse(bytes: &[u8]) -> Message<'_> {
    MessageParser::default().parse(bytes).unwrap()
}

fn raw_header<'a>(message: &'a Message<'_>, name: &'a str) -> &'a str {
    message.header_raw(name).unwrap().trim()
}

/// What every mail must be, whatever went in.
fn assert_fit_for_the_wire(bytes: &[u8]) {
    assert!(bytes.is_ascii() && bytes.ends_with(b"\r\n"));
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
    let headers = text.split("\r\n\r\n").next().unwrap();
    let names: Vec<&str> = headers
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split_once(':').unwrap().0)
        .collect();
    let allowed = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "References",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "MIME-Version",
        "Content-Type",
    ];
    for name in &names {
        assert!(allowed.contains(name), "{name}");
        assert_eq!(names.iter().filter(|other| other == &name).count(), 1, "{name}");
    }
}

#[test]
fn a_first_mail_reads_back_as_it_was_written() {
    let rendered = rendered("Grüße, Jo", "<p>Hallo Jo, schöne Grüße</p>", "Hallo Jo\n\nschöne Grüße\n");
    let bytes = compose_with("Ana Müller", &rendered, &[]);
    assert_fit_for_the_wire(&bytes);
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("Grüße, Jo"));
    let from = mail.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("Ana Müller"), Some("me@sender.example")));
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some("Jo@Example.com"));
    assert_eq!(mail.message_id(), Some("00000000000000000000000000000007@sender.example"));
    assert_eq!(mail.date().unwrap().to_rfc3339(), "2026-04-27T10:00:00Z");
    assert_eq!(raw_header(&mail, "List-Unsubscribe"), "<https://x.test/u/abc>");
    assert_eq!(raw_header(&mail, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(mail.content_type().unwrap().subtype(), Some("alternative"));
    assert_eq!(mail.body_text(0).unwrap().trim_end(), "Hallo Jo\r\n\r\nschöne Grüße");
    assert_eq!(mail.body_html(0).unwrap().trim_end(), "<p>Hallo Jo, schöne Grüße</p>");
    assert_eq!(mail.header("In-Reply-To"), None);
    assert_eq!(mail.header("References"), None);
}

#[test]
fn a_plain_mail_is_the_same_bytes_every_time() {
    let bytes = compose_with("Ana", &rendered("Hi Jo", "<p>Hi</p>", "Hi\n"), &[]);
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap().replace('\r', ""), @r#"
    From: Ana <me@sender.example>
    To: Jo@Example.com
    Subject: Hi Jo
    Date: Mon, 27 Apr 2026 10:00:00 +0000
    Message-ID: <00000000000000000000000000000007@sender.example>
    List-Unsubscribe: <https://x.test/u/abc>
    List-Unsubscribe-Post: List-Unsubscribe=One-Click
    MIME-Version: 1.0
    Content-Type: multipart/alternative;
     boundary="=_00000000000000000000000000000007"

    --=_00000000000000000000000000000007
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 7bit

    Hi

    --=_00000000000000000000000000000007
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: 7bit

    <p>Hi</p>
    --=_00000000000000000000000000000007--
    "#);
}

#[test]
fn a_follow_up_threads_to_all_earlier_steps() {
    let earlier: Vec<String> = (0..20).map(|n| message_id(Uuid::from_u128(n), &from())).collect();
    let bytes = compose_with("Ana", &rendered("Hi", "<p>Hi</p>", "Hi"), &earlier);
    assert_fit_for_the_wire(&bytes);
    let mail = parse(&bytes);
    let bare = |id: &String| id.trim_matches(['<', '>']).to_owned();
    let ParsedValue::TextList(references) = mail.references() else { panic!("{:?}", mail.references()) };
    assert_eq!(
        references.iter().map(ToString::to_string).collect::<Vec<_>>(),
        earlier.iter().map(bare).collect::<Vec<_>>()
    );
    assert_eq!(mail.in_reply_to().as_text(), Some(bare(earlier.last().unwrap()).as_str()));
}

#[test]
fn what_looks_like_an_encoded_word_is_not_decoded() {
    let subject = "=?utf-8?b?QmNjOiB4?= for you";
    let bytes = compose_with("Ana", &rendered(subject, "x", "x"), &[]);
    assert_eq!(parse(&bytes).subject(), Some(subject));
}

#[test]
fn long_lines_and_odd_line_ends_are_encoded_away() {
    let text = format!("a\rb\nc\r\nd\0e\x0b {}\n.\nFrom x", "y".repeat(5_000));
    let bytes = compose_with("Ana", &rendered(&"z".repeat(998), &"<p>é".repeat(3_000), &text), &[]);
    assert_fit_for_the_wire(&bytes);
    let mail = parse(&bytes);
    assert_eq!(mail.subject(), Some("z".repeat(998).as_str()));
    assert_eq!(
        mail.body_text(0).unwrap().trim_end(),
        format!("a\r\nb\r\nc\r\nde {}\r\n.\r\nFrom x", "y".repeat(5_000))
    );
    assert_eq!(mail.body_html(0).unwrap().trim_end(), "<p>é".repeat(3_000));
}

#[test]
fn ids_and_links_that_would_break_a_header_are_refused() {
    let (from, rendered) = (from(), rendered("x", "x", "x"));
    let letter = Letter {
        message_id: "<00000000000000000000000000000007@sender.example>",
        from: &from,
        from_name: &HeaderText::parse("Ana", 255).unwrap(),
        to: &from,
        rendered: &rendered,
        earlier: &[],
        date: Timestamp::from_micros(i64::MAX),
        unsubscribe: "https://x.test/u/abc",
    };
    let broken = "<0000000000000000000000000000000007@x>\r\nBcc: x".to_owned();
    assert!(compose(&Letter { unsubscribe: "https://x.test/\r\nBcc: x", ..letter }).is_err());
    assert!(compose(&Letter { message_id: &broken, ..letter }).is_err());
    assert!(compose(&Letter { message_id: "<>", ..letter }).is_err());
    assert!(compose(&Letter { earlier: &[broken], ..letter }).is_err());
}

proptest! {
    #[test]
    fn any_text_is_carried_and_none_escapes_its_place(
        name in any::<String>(),
        subject in any::<String>(),
        html in any::<String>(),
        text in "(\\PC|\r|\n|\t){0,300}",
    ) {
        let name = HeaderText::flatten(&name, 255).to_string();
        let name = HeaderText::parse(&name, 255).unwrap_or_else(|_| HeaderText::parse("Ana", 255).unwrap());
        let rendered = rendered(&subject, &html, &text);
        let bytes = compose_with(name.as_str(), &rendered, &[]);
        assert_fit_for_the_wire(&bytes);
        let mail = parse(&bytes);
        prop_assert_eq!(mail.parts.len(), 3);
        prop_assert!(mail.attachments().next().is_none_or(|part| part.attachment_name().is_none()));
        prop_assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("me@sender.example"));
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(squeeze(mail.subject().unwrap_or_default()), squeeze(&rendered.subject));
        let lines = |text: &str| text.chars().filter(|char| !char.is_ascii_control()).collect::<String>();
        prop_assert_eq!(lines(&mail.body_text(0).unwrap()), lines(&text));
    }
}

#[test]
fn a_header_holds_visible_ascii_on_one_line_and_nothing_else() {
    let longest = "a".repeat(LINE_BYTES);
    assert_eq!(ascii(&longest), Ok(longest.as_str()));
    for text in ["a b", "a\r\nb", "\u{e4}", &"a".repeat(LINE_BYTES + 1)] {
        assert_eq!(ascii(text), Err(ComposeError::UnsafeHeader), "{text}");
    }
}

#[test]
fn short_lines_of_ascii_go_as_they_are_and_everything_else_encoded() {
    let longest = "a".repeat(LINE_BYTES);
    for text in ["", "Hi Jo", "Hi\nJo\n", &longest] {
        assert_eq!(body(text).encoding(), ContentTransferEncoding::SevenBit, "{text}");
    }
    for text in ["Grüße", &"a".repeat(LINE_BYTES + 1)] {
        assert_ne!(body(text).encoding(), ContentTransferEncoding::SevenBit, "{text}");
    }
}
