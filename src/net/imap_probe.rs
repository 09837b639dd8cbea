//! Opens an IMAP connection: greeting, TLS, LOGIN (RFC 9051). `verify` logs out again at once; the inbox goes on from
//! here. It reads no mail itself.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;
use zeroize::Zeroizing;

use super::{DialError, Dialer, LineError, MailStream, VerifyError, read_line};

/// TLS from the first byte (RFC 8314, section 3.2).
const IMPLICIT_TLS: u16 = 993;
const MAX_LINE: usize = 8192;
/// All that is read in one check.
const MAX_READ: usize = 256 * 1024;
const CONNECT: Duration = Duration::from_secs(15);

/// The mailbox to check. Deliberately without `Debug`.
#[derive(Clone, Copy)]
pub struct Mailbox<'a> {
    /// The host as the tenant named it; TLS is checked against it.
    pub host: &'a str,
    /// 993 is TLS from the first byte, any other port STARTTLS.
    pub port: u16,
    /// The user name.
    pub username: &'a str,
    /// The password in clear.
    pub password: &'a str,
}

/// Logs in and out again, all within one time span.
///
/// # Errors
/// The word for what failed first.
pub async fn verify_imap(
    dialer: &Dialer,
    mailbox: &Mailbox<'_>,
    within: Duration,
) -> Result<(), VerifyError> {
    let deadline = Instant::now() + within;
    let checked = timeout_at(deadline, async {
        let mut probe = log_in(dialer, mailbox, within).await?;
        if probe.ask("LOGOUT").await.is_err() {
            tracing::debug!("an IMAP server did not say goodbye");
        }
        Ok(())
    });
    checked.await.map_err(|_| VerifyError::Timeout)?
}

/// Logs in and hands over the connection, all within one time span. What the server said already is in the buffer.
///
/// # Errors
/// The word for what failed first.
pub async fn open_imap(
    dialer: &Dialer,
    mailbox: &Mailbox<'_>,
    within: Duration,
) -> Result<BufReader<MailStream>, VerifyError> {
    let deadline = Instant::now() + within;
    let opened = timeout_at(deadline, log_in(dialer, mailbox, within)).await;
    opened.map_err(|_| VerifyError::Timeout)?.map(|probe| probe.io)
}

async fn log_in(
    dialer: &Dialer,
    mailbox: &Mailbox<'_>,
    within: Duration,
) -> Result<Probe<MailStream>, VerifyError> {
    let tcp = dialer.connect(mailbox.host, mailbox.port, CONNECT.min(within)).await?;
    let stream = if mailbox.port == IMPLICIT_TLS {
        Either::Right(Box::new(dialer.wrap_tls(mailbox.host, tcp, within).await?))
    } else {
        Either::Left(tcp)
    };
    let mut probe = Probe::new(stream);
    probe.greet().await?;
    let mut probe = probe.secure_if_needed(dialer, mailbox, within).await?;
    probe.login(mailbox.username, mailbox.password).await?;
    Ok(probe)
}

/// How a tagged command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    No,
}

struct Probe<S> {
    io: BufReader<S>,
    budget: usize,
    tag: u32,
    starttls: bool,
    login_disabled: bool,
}

impl From<LineError> for VerifyError {
    fn from(_: LineError) -> Self {
        Self::ProtocolFailed
    }
}

impl Probe<MailStream> {
    async fn secure_if_needed(
        mut self,
        dialer: &Dialer,
        mailbox: &Mailbox<'_>,
        within: Duration,
    ) -> Result<Self, VerifyError> {
        self.capabilities().await?;
        let secure = matches!(self.io.get_ref(), Either::Right(_));
        if secure || !self.starttls && dialer.policy().allow_plain_mail {
            return Ok(self);
        }
        if !self.starttls || self.ask("STARTTLS").await? != Status::Ok {
            return Err(VerifyError::TlsFailed);
        }
        // Bytes behind the answer were written in clear by somebody in the middle (RFC 9051, section 6.2.1).
        if !self.io.buffer().is_empty() {
            return Err(VerifyError::ProtocolFailed);
        }
        let Either::Left(tcp) = self.io.into_inner() else { return Err(DialError::Tls.into()) };
        let tls = dialer.wrap_tls(mailbox.host, tcp, within).await?;
        let mut secured = Self::new(Either::Right(Box::new(tls)));
        secured.capabilities().await?;
        Ok(secured)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Probe<S> {
    fn new(stream: S) -> Self {
        let io = BufReader::with_capacity(2048, stream);
        Self { io, budget: MAX_READ, tag: 0, starttls: false, login_disabled: false }
    }

    async fn greet(&mut self) -> Result<(), VerifyError> {
        let greeting = self.line().await?;
        if starts_with(&greeting, "* OK") { Ok(()) } else { Err(VerifyError::ProtocolFailed) }
    }

    async fn capabilities(&mut self) -> Result<(), VerifyError> {
        (self.starttls, self.login_disabled) = (false, false);
        match self.ask("CAPABILITY").await? {
            Status::Ok => Ok(()),
            Status::No => Err(VerifyError::ProtocolFailed),
        }
    }

    async fn login(&mut self, username: &str, password: &str) -> Result<(), VerifyError> {
        let sendable = |text: &str| !text.contains('\0');
        if self.login_disabled || !sendable(username) || !sendable(password) {
            return Err(VerifyError::AuthFailed);
        }
        let command = Zeroizing::new(format!("LOGIN {} {}", *astring(username), *astring(password)));
        match self.ask(&command).await? {
            Status::Ok => Ok(()),
            Status::No => Err(VerifyError::AuthFailed),
        }
    }

    /// One command and its tagged answer. A command with literals goes out piece by piece, each when the server
    /// asks for it.
    async fn ask(&mut self, command: &str) -> Result<Status, VerifyError> {
        self.tag += 1;
        let tag = format!("v{}", self.tag);
        let whole = Zeroizing::new(format!("{tag} {command}\r\n"));
        let pieces = pieces(&whole);
        for (left, piece) in (0..pieces.len()).rev().zip(pieces) {
            self.io.write_all(piece.as_bytes()).await.map_err(|_| VerifyError::ProtocolFailed)?;
            self.io.flush().await.map_err(|_| VerifyError::ProtocolFailed)?;
            match self.answer(&tag).await? {
                // It took what it was not told yet.
                Some(Status::Ok) if left > 0 => return Err(VerifyError::ProtocolFailed),
                Some(status) => return Ok(status),
                None => {}
            }
        }
        Err(VerifyError::ProtocolFailed)
    }

    /// The tagged answer, or `None` when the server asks for more.
    async fn answer(&mut self, tag: &str) -> Result<Option<Status>, VerifyError> {
        loop {
            let line = self.line().await?;
            if line.starts_with('+') {
                return Ok(None);
            }
            if let Some(rest) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                self.note_capabilities(rest);
                return status(rest).map(Some);
            }
            if starts_with(&line, "* CAPABILITY") {
                self.note_capabilities(&line);
            }
        }
    }

    fn note_capabilities(&mut self, line: &str) {
        for word in line.split([' ', ']']) {
            self.starttls |= word.eq_ignore_ascii_case("STARTTLS");
            self.login_disabled |= word.eq_ignore_ascii_case("LOGINDISABLED");
        }
    }

    async fn line(&mut self) -> Result<String, VerifyError> {
        let line = read_line(&mut self.io, MAX_LINE, &mut self.budget).await?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

/// A login in clear with a server whose words are all there, for the fuzzer (`fuzz/targets/imap_login.rs`): how it ended, and
/// the stream again.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub async fn log_in_over<S>(stream: S, username: &str, password: &str) -> (Result<(), VerifyError>, S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut probe = Probe::new(stream);
    let ended = async {
        probe.greet().await?;
        probe.capabilities().await?;
        probe.login(username, password).await
    };
    (ended.await, probe.io.into_inner())
}

fn status(answer: &str) -> Result<Status, VerifyError> {
    if starts_with(answer, "OK") {
        Ok(Status::Ok)
    } else if starts_with(answer, "NO") {
        Ok(Status::No)
    } else {
        Err(VerifyError::ProtocolFailed)
    }
}

fn starts_with(line: &str, word: &str) -> bool {
    let head = line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    head && line.get(word.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// A quoted string where the text allows it, else a literal (RFC 9051, section 4.3).
fn astring(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(text.len() + 16));
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        quoted.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
    } else {
        for part in ["{", &text.len().to_string(), "}\r\n"] {
            quoted.push_str(part);
        }
        quoted.push_str(text);
    }
    quoted
}

/// Cuts a command behind each literal's length. A literal is the only place where a line end can be inside, and its
/// length tells how far it goes, so that nothing in it is taken for an announcement.
fn pieces(command: &str) -> Vec<&str> {
    let mut cuts = Vec::new();
    let (mut rest, mut skip) = (command, 0);
    while let Some(at) = rest.get(skip..).and_then(|text| text.find("}\r\n")).map(|at| at + skip) {
        let announced = rest.get(..at).and_then(|text| text.rsplit('{').next()).and_then(|n| n.parse().ok());
        let (piece, after) = rest.split_at(at + 3);
        cuts.push(piece);
        rest = after;
        skip = announced.unwrap_or(0);
    }
    cuts.push(rest);
    cuts
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use rstest::rstest;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
    use tokio::net::TcpListener;

    use super::super::DialPolicy;
    use super::super::resolve::scripted::ScriptedDns;
    use super::*;

    /// Answers each line by the table; `None` closes.
    async fn check(
        allow_plain_mail: bool,
        script: &[(&str, Option<&str>)],
        user: &str,
    ) -> Result<(), VerifyError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let policy = DialPolicy { allow_private: true, allow_plain_mail };
        let dialer = Dialer::with(policy, Arc::new(ScriptedDns::default()), &[]).unwrap();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut io = BufReader::new(stream);
            for (expected, answer) in script {
                let mut line = vec![0; expected.len()];
                io.read_exact(&mut line).await.unwrap();
                assert_eq!(String::from_utf8(line).unwrap(), *expected);
                match answer {
                    Some(answer) => io.write_all(answer.as_bytes()).await.unwrap(),
                    None => return,
                }
            }
            let mut rest = String::new();
            io.read_line(&mut rest).await.unwrap();
        };
        let mailbox = Mailbox { host: "127.0.0.1", port, username: user, password: "pa\"ss" };
        tokio::join!(verify_imap(&dialer, &mailbox, Duration::from_secs(10)), server).0
    }

    const HELLO: (&str, Option<&str>) = ("", Some("* OK hello\r\n"));
    const PLAIN: (&str, Option<&str>) =
        ("v1 CAPABILITY\r\n", Some("* CAPABILITY IMAP4rev1\r\nv1 OK done\r\n"));
    const LOGIN: &str = "v2 LOGIN \"me\" \"pa\\\"ss\"\r\n";

    #[rstest]
    #[case(&[HELLO, PLAIN, (LOGIN, Some("v2 OK [CAPABILITY IMAP4rev1] in\r\n")), ("v3 LOGOUT\r\n", Some("* BYE\r\nv3 OK out\r\n"))], Ok(()))]
    #[case(&[HELLO, PLAIN, (LOGIN, Some("v2 NO [AUTHENTICATIONFAILED] no\r\n"))], Err(VerifyError::AuthFailed))]
    #[case(&[HELLO, PLAIN, (LOGIN, Some("v2 BAD what\r\n"))], Err(VerifyError::ProtocolFailed))]
    #[case(&[HELLO, PLAIN, (LOGIN, None)], Err(VerifyError::ProtocolFailed))]
    #[case(&[("", Some("* BYE full\r\nv1 OK\r\nv2 OK\r\n"))], Err(VerifyError::ProtocolFailed))]
    #[case(&[("", Some("* PREAUTH in\r\nv1 OK\r\nv2 OK\r\n"))], Err(VerifyError::ProtocolFailed))]
    #[case(&[("", Some("220 not IMAP\r\nv1 OK\r\nv2 OK\r\n"))], Err(VerifyError::ProtocolFailed))]
    #[case(&[HELLO, ("v1 CAPABILITY\r\n", Some("* CAPABILITY LOGINDISABLED\r\nv1 OK\r\n"))], Err(VerifyError::AuthFailed))]
    #[case(&[HELLO, ("v1 CAPABILITY\r\n", Some("* CAPABILITY STARTTLS\r\nv1 OK\r\n")), ("v2 STARTTLS\r\n", Some("v2 OK\r\nv3 OK injected\r\n"))], Err(VerifyError::ProtocolFailed))]
    #[tokio::test]
    async fn a_login_is_told_by_its_answer(
        #[case] script: &[(&str, Option<&str>)],
        #[case] expected: Result<(), VerifyError>,
    ) {
        assert_eq!(check(true, script, "me").await, expected);
    }

    #[tokio::test]
    async fn a_password_is_not_sent_in_clear_unless_that_is_allowed() {
        assert_eq!(check(false, &[HELLO, PLAIN], "me").await, Err(VerifyError::TlsFailed));
    }

    #[tokio::test]
    async fn a_name_that_no_command_can_hold_is_not_sent() {
        assert_eq!(check(true, &[HELLO, PLAIN], "m\0e").await, Err(VerifyError::AuthFailed));
    }

    #[tokio::test]
    async fn a_talkative_server_is_heard_out() {
        let talk = format!("{}v1 OK done\r\n", "* OK this server has much to say for itself\r\n".repeat(99));
        let script = [
            HELLO,
            ("v1 CAPABILITY\r\n", Some(talk.as_str())),
            (LOGIN, Some("v2 OK in\r\n")),
            ("v3 LOGOUT\r\n", None),
        ];
        assert_eq!(check(true, &script, "me").await, Ok(()));
    }

    #[test]
    fn a_command_is_cut_behind_each_announcement_and_nowhere_in_a_literal() {
        let command = "v2 LOGIN {6}\r\nab}\r\nc {3}\r\nxyz";
        assert_eq!(pieces(command), ["v2 LOGIN {6}\r\n", "ab}\r\nc {3}\r\n", "xyz"]);
        assert_eq!(pieces("v2 LOGIN \"a\" \"b\""), ["v2 LOGIN \"a\" \"b\""]);
    }

    #[tokio::test]
    async fn what_no_quoted_string_holds_goes_as_a_literal() {
        let name = "m\u{e9}{3}\r\nx";
        let script = [
            HELLO,
            PLAIN,
            ("v2 LOGIN {9}\r\n", Some("+ go on\r\n")),
            ("m\u{e9}{3}\r\nx \"pa\\\"ss\"\r\n", Some("v2 OK\r\n")),
            ("v3 LOGOUT\r\n", None),
        ];
        assert_eq!(check(true, &script, name).await, Ok(()));
    }

    #[tokio::test]
    async fn a_login_that_is_taken_before_it_was_all_sent_is_none() {
        let script = [HELLO, PLAIN, ("v2 LOGIN {3}\r\n", Some("v2 OK\r\n"))];
        assert_eq!(check(true, &script, "m\u{e9}").await, Err(VerifyError::ProtocolFailed));
    }
}
