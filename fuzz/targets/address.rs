//! Addresses and names: what is accepted makes a mail of the headers that it should have, and reads back as it was.
//!
//! The input is an address, a name, a subject and a text, with NUL between them.
#![cfg_attr(fuzzing, no_main)]

use ampout::{
    clock::Timestamp,
    models::{EmailAddress, HeaderText},
    sending::{
        compose::{Letter, compose, message_id},
        render::Rendered,
    },
};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use mail_parser::MessageParser;
use uuid::Uuid;

const HEADERS: [&str; 9] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
];

/// Lines end in CR LF and are short, all is ASCII, and there are the headers that we write and no others.
fn assert_wire(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("ASCII");
    assert!(text.is_ascii());
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        assert!(line.len() <= 998, "{} bytes", line.len());
    }
    let (headers, _) = text.split_once("\r\n\r\n").expect("a blank line");
    let lines = headers.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    let mut names: Vec<&str> = lines.map(|line| line.split_once(':').expect("a header").0).collect();
    names.sort_unstable();
    let mut expected = HEADERS;
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// A line may be folded between two spaces (RFC 5322, section 2.2.3), and this parser makes one of them.
fn spaced(text: &str) -> String {
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fuzz_target!(|data: &str| {
    let mut parts = data.split('\0');
    let [address, name, subject, text] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let Ok(to) = EmailAddress::parse(address) else { return };
    assert!(to.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{to:?}");
    assert_eq!(EmailAddress::parse(to.as_str()).as_ref(), Ok(&to));
    assert_eq!(EmailAddress::parse(&to.key()).map(|it| it.key()), Ok(to.key()));

    let Ok(from_name) = HeaderText::parse(name, HeaderText::NAME_CHARS) else { return };
    let from = EmailAddress::parse("eve@sender.test").expect("an address");
    let subject = HeaderText::flatten(subject, HeaderText::SUBJECT_CHARS);
    let rendered =
        Rendered { subject: subject.to_string(), html: format!("<p>{text}</p>"), text: text.to_owned() };
    let letter = Letter {
        message_id: &message_id(Uuid::from_u128(7), &from),
        from: &from,
        from_name: &from_name,
        to: &to,
        rendered: &rendered,
        earlier: &[],
        date: Timestamp::from_seconds(1_795_000_000),
        unsubscribe: "https://app.example.test/u/token",
    };
    let mail = compose(&letter).expect("every part was parsed").bytes;
    assert_wire(&mail);

    let mail = MessageParser::default().parse(&mail).expect("a mail");
    let recipients: Vec<_> = mail.to().expect("a recipient").iter().map(|it| it.address()).collect();
    assert_eq!(recipients, [Some(to.as_str())]);
    let senders: Vec<_> = mail.from().expect("a sender").iter().map(|it| (it.address(), it.name())).collect();
    let senders: Vec<_> = senders.into_iter().map(|(from, name)| (from, name.map(spaced))).collect();
    assert_eq!(senders, [(Some(from.as_str()), Some(spaced(from_name.as_str())))]);
    assert_eq!(spaced(mail.subject().unwrap_or_default()), spaced(subject.as_str()));
});
