//! Replies over SMTP: what is read of them is bounded and says what the server said, however it comes in, and what follows
//! is left where it is.
//!
//! The input is a byte that says how often the server says its words, and the words.
#![cfg_attr(fuzzing, no_main)]

use ampout::sending::smtp::{
    Broken, Lasting, Phase, Reply, Trouble, classify,
    fuzzing::{LINE_BYTES, REPLY_BYTES, offers, read},
    provider_id,
};
use futures_util::FutureExt;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncBufRead, BufReader};

/// More replies than that are not looked at in one input.
const MOST: usize = 32;
const PHASES: [Phase; 8] = [
    Phase::Greeting,
    Phase::Ehlo,
    Phase::StartTls,
    Phase::Auth,
    Phase::Mail,
    Phase::Rcpt,
    Phase::Data,
    Phase::Dot,
];

fn next<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Reply, Broken> {
    read(reader).now_or_never().expect("nothing to wait for")
}

/// The first reply in the text, and how long it is: the rules once more, over the whole text at once.
fn expected(text: &[u8]) -> Result<(u16, Vec<String>, usize), Broken> {
    let (mut end, mut lines) = (0, Vec::new());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if end > REPLY_BYTES {
            return Err(Broken::Protocol);
        }
        let Some(line) = line.strip_suffix(b"\n") else { return Err(Broken::Closed) };
        let line = &line[..line.len().min(LINE_BYTES)];
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let (code, rest) = line.split_at_checked(3).ok_or(Broken::Protocol)?;
        if !code.starts_with(['2', '3', '4', '5']) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Broken::Protocol);
        }
        if !rest.is_empty() && !rest.starts_with([' ', '-']) {
            return Err(Broken::Protocol);
        }
        lines.push((code.to_owned(), rest.get(1..).unwrap_or_default().to_owned()));
        if lines[0].0 != code {
            return Err(Broken::Protocol);
        }
        if !rest.starts_with('-') {
            let code = code.parse().expect("three digits");
            return Ok((code, lines.into_iter().map(|(_, text)| text).collect(), end));
        }
    }
    Err(Broken::Closed)
}

/// The reply as a server would write it.
fn written(reply: &Reply) -> Vec<u8> {
    let last = reply.lines().count() - 1;
    let lines = reply.lines().enumerate().map(|(at, text)| {
        format!("{}{}{text}\r\n", reply.code(), if at < last { '-' } else { ' ' }).into_bytes()
    });
    lines.flatten().collect()
}

fn assert_meaning(reply: &Reply) {
    let class = reply.code() / 100;
    assert!((2..=5).contains(&class));
    let said = [(2, reply.is_positive()), (4, reply.is_temporary()), (5, reply.is_permanent())];
    assert!(said.into_iter().all(|(of, is)| is == (of == class)), "{reply:?}");

    let kept = reply.kept();
    assert!(kept.starts_with(&reply.code().to_string()) && kept.chars().count() <= 500, "{kept:?}");
    assert!(!kept.contains(char::is_control), "{kept:?}");

    if let Some((subject, detail)) = reply.enhanced() {
        let word = reply.lines().next().and_then(|line| line.split_whitespace().next()).expect("a word");
        let numbers: Vec<u16> = word.split('.').map(|part| part.parse().expect("a number")).collect();
        assert_eq!(numbers, [class, subject, detail], "{word:?}");
        assert!(word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{word:?}");
        assert!(subject < 1000 && detail < 1000);
    }
    if let Some(id) = provider_id(reply) {
        assert!((4..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
        assert!(reply.lines().any(|line| line.contains(&id)), "{id:?}");
    }
    for phase in PHASES {
        match classify(phase, reply) {
            Trouble::Recipient(lasting) | Trouble::Message(lasting) => {
                assert!(matches!(phase, Phase::Mail | Phase::Rcpt | Phase::Data | Phase::Dot), "{phase:?}");
                let permanent = lasting == Lasting::Permanent;
                assert_eq!((permanent, !permanent), (reply.is_permanent(), reply.is_temporary()));
            }
            Trouble::Sender(_) => assert!(reply.is_permanent()),
            Trouble::Connection => {}
        }
    }
}

/// Written again it reads the same, and offers the same in whatever case it is written.
fn assert_round_trip(reply: &Reply) {
    let text = written(reply);
    let longest = text.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    // Bytes that are no UTF-8 became longer.
    if text.len() > REPLY_BYTES || longest > Some(LINE_BYTES) {
        return;
    }
    assert_eq!(next(&mut text.as_slice()).as_ref(), Ok(reply));
    let offered = offers(reply);
    for other in [text.to_ascii_uppercase(), text.to_ascii_lowercase()] {
        assert_eq!(next(&mut other.as_slice()).map(|other| offers(&other)).as_ref(), Ok(&offered));
    }
    for offer in offered {
        assert!(reply.lines().skip(1).any(|line| line.to_ascii_uppercase().contains(offer)), "{offer}");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((times, words)) = data.split_first() else { return };
    let text = words.repeat(usize::from(times % 8) + 1);
    let mut whole = text.as_slice();
    let mut pieces = [3, 50].map(|size| BufReader::with_capacity(size, text.as_slice()));
    for _ in 0..MOST {
        let before = whole;
        let reply = next(&mut whole);
        for pieces in &mut pieces {
            assert_eq!(next(pieces), reply);
        }
        match (reply, expected(before)) {
            (Ok(reply), Ok((code, lines, end))) => {
                assert_eq!(
                    (reply.code(), reply.lines().collect::<Vec<_>>()),
                    (code, lines.iter().map(String::as_str).collect())
                );
                assert_eq!(before.len() - whole.len(), end, "what follows is left");
                assert_meaning(&reply);
                assert_round_trip(&reply);
            }
            (reply, expected) => {
                assert_eq!(reply.err(), expected.err());
                return;
            }
        }
    }
});
