//! A login over IMAP: whatever the server says, what is written to it is what the standard asks for, a literal only when it
//! was asked for, and no password where the server takes none.
//!
//! The input is a byte that says where the server's words are cut, and the user name, the password and these words, with
//! 0xFF between them.
#![cfg_attr(fuzzing, no_main)]

use ampout::net::{VerifyError, imap_probe::log_in_over};
use futures_util::FutureExt;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, join};

/// All that is read of a server before it is given up, and what a read may bring beyond.
const MOST_READ: usize = 256 * 1024 + 2048;
const ASKED: &str = "v1 CAPABILITY\r\n";

/// How it ended, what was written, and how much was read.
fn log_in(pieces: (&[u8], &[u8]), name: &str, password: &str) -> (Result<(), VerifyError>, Vec<u8>, usize) {
    let stream = join(pieces.0.chain(pieces.1), Vec::new());
    let ended = log_in_over(stream, name, password).now_or_never();
    let (ended, stream) = ended.expect("nothing to wait for");
    let (reader, written) = stream.into_inner();
    let left = reader.into_inner();
    (ended, written, pieces.0.len() + pieces.1.len() - left.0.len() - left.1.len())
}

/// The text at the beginning, quoted or a literal, and what follows it.
fn astring(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if let Some(literal) = text.strip_prefix(b"{") {
        let end = literal.iter().position(|byte| *byte == b'}')?;
        let length = std::str::from_utf8(&literal[..end]).ok()?.parse().ok()?;
        let (text, rest) = literal[end + 1..].strip_prefix(b"\r\n")?.split_at_checked(length)?;
        return Some((text.to_vec(), rest));
    }
    let (mut rest, mut read) = (text.strip_prefix(b"\"")?, Vec::new());
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((read, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                rest = after;
                read.extend(b"\"\\".contains(escaped).then_some(*escaped));
            }
            0x20..0x7f => read.push(*byte),
            _ => return None,
        }
    }
}

/// Name and password of a whole login.
fn read_login(command: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, rest) = astring(command.strip_prefix(b"v2 LOGIN ")?)?;
    let (password, rest) = astring(rest.strip_prefix(b" ")?)?;
    (rest == b"\r\n").then_some((name, password))
}

/// Whether the line says this, in any case, alone or with more behind it.
fn says(line: &str, word: &str) -> bool {
    line.split_at_checked(word.len()).is_some_and(|(begin, rest)| {
        begin.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.starts_with(' '))
    })
}

/// Whether the server may be logged in to, and how often it says behind that that it waits for more.
fn allows(server: &[u8]) -> Option<usize> {
    let whole = server.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let mut lines = whole.map(|line| {
        let line = &line[..line.len().min(8192)];
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
    });
    lines.next().filter(|greeting| says(greeting, "* OK"))?;
    loop {
        let line = lines.next().filter(|line| !line.starts_with('+'))?;
        let answer = line.strip_prefix("v1 ");
        let disabled = |word: &str| word.eq_ignore_ascii_case("LOGINDISABLED");
        if (answer.is_some() || says(&line, "* CAPABILITY")) && line.split([' ', ']']).any(disabled) {
            return None;
        }
        if let Some(answer) = answer {
            let behind = lines.take_while(|line| !line.starts_with("v2 "));
            return says(answer, "OK").then(|| behind.filter(|line| line.starts_with('+')).count());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else { return };
    let mut parts = data.splitn(3, |byte| *byte == 0xff);
    let [name, password, server] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let (Ok(name), Ok(password)) = (std::str::from_utf8(name), std::str::from_utf8(password)) else { return };
    let (ended, written, read) = log_in((server, b""), name, password);
    let pieces = server.split_at(usize::from(*cut) % (server.len() + 1));
    let again = log_in(pieces, name, password);
    assert_eq!((again.0, &again.1), (ended, &written), "cut at {}", pieces.0.len());
    assert!(read <= MOST_READ && again.2 <= MOST_READ);

    assert!(
        matches!(ended, Ok(()) | Err(VerifyError::AuthFailed | VerifyError::ProtocolFailed)),
        "{ended:?}"
    );
    assert!(written.is_empty() || written.starts_with(ASKED.as_bytes()));
    let login = written.get(ASKED.len()..).unwrap_or_default();
    let sendable = !name.contains('\0') && !password.contains('\0');
    match allows(server) {
        Some(continued) if sendable => {
            assert!(login.starts_with(b"v2 LOGIN "));
            let quoted = |text: &&str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            let literals = 2 - [name, password].iter().filter(|text| quoted(text)).count();
            assert_eq!(read_login(login).is_some(), continued >= literals);
        }
        _ => assert!(login.is_empty() && ended.is_err()),
    }
    if let Some(read) = read_login(login) {
        assert_eq!(read, (name.as_bytes().to_vec(), password.as_bytes().to_vec()));
    }
    assert!(ended.is_err() || read_login(login).is_some());
});
