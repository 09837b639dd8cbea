//! Greeting, STARTTLS, AUTH.

use std::time::Duration;

use rstest::rstest;

use super::script::Step::{self, Hear, Say};
use super::script::{Server, dialer, endpoint, open, timeouts};
use crate::net::VerifyError;
use crate::sending::smtp::{Broken, OpenError, SenderFault, SmtpConnection, Timeouts, Trouble};

const EHLO: Step = Hear("EHLO [127.0.0.1]\r\n");

async fn opened(allow_plain: bool, script: &[Step]) -> Result<SmtpConnection, OpenError> {
    let server = Server::start().await;
    let (dialer, endpoint, timeouts) = (dialer(allow_plain), endpoint(server.port()), timeouts());
    let client = async { SmtpConnection::open(&dialer, &endpoint, &timeouts).await };
    tokio::select! {
        opened = client => opened,
        rest = async { server.play(script).await; std::future::pending::<()>().await } => {
            unreachable!("{rest:?}")
        }
    }
}

#[rstest]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250 x\r\n")])]
#[case(&[Say("220-hi\r\n220 there\r\n"), EHLO, Say("250-x\r\n250-AUTH PLAIN\r\n250\r\n"), Hear("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), Say("235 in\r\n")])]
#[case(&[Say("220 hi\n"), EHLO, Say("250-x\n250 AUTH LOGIN\n"), Hear("AUTH LOGIN\r\n"), Say("334 VXNlcm5hbWU6\n"), Hear("bWU=\r\n"), Say("334 UGFzc3dvcmQ6\n"), Hear("c2VjcmV0\r\n"), Say("235 in\n")])]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 AUTH LOGIN PLAIN\r\n"), Hear("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), Say("504 no\r\n"), Hear("AUTH LOGIN\r\n"), Say("334 x\r\n"), Hear("bWU=\r\n"), Say("334 x\r\n"), Hear("c2VjcmV0\r\n"), Say("235 in\r\n")])]
#[tokio::test]
async fn a_willing_server_is_opened(#[case] script: &[Step]) {
    let connection = opened(true, script).await;
    assert!(connection.is_ok_and(|connection| connection.is_usable() && !connection.is_secure()));
}

#[rstest]
#[case(&[Say("421 busy\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("554 no\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("SSH-2.0-x\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("502 what\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n251 y\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 STARTTLS\r\n"), Hear("STARTTLS\r\n"), Say("454 later\r\n")], VerifyError::TlsFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 STARTTLS\r\n"), Hear("STARTTLS\r\n"), Say("220 go\r\n250 injected\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n250 too early\r\n")], VerifyError::ProtocolFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 AUTH PLAIN\r\n"), Hear("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), Say("535 5.7.8 no\r\n")], VerifyError::AuthFailed, Trouble::Sender(SenderFault::Auth))]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 AUTH PLAIN\r\n"), Hear("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), Say("454 4.7.0 later\r\n")], VerifyError::AuthFailed, Trouble::Connection)]
#[case(&[Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 AUTH LOGIN PLAIN\r\n"), Hear("AUTH PLAIN AG1lAHNlY3JldA==\r\n"), Say("535 5.7.8 no\r\n")], VerifyError::AuthFailed, Trouble::Sender(SenderFault::Auth))]
#[tokio::test]
async fn an_unwilling_server_is_told_apart(
    #[case] script: &[Step],
    #[case] word: VerifyError,
    #[case] trouble: Trouble,
) {
    let error = opened(true, script).await.err().unwrap();
    assert_eq!((error.verify_error(), error.trouble()), (word, trouble), "{error:?}");
}

#[tokio::test]
async fn without_leave_for_plain_mail_a_password_never_goes_in_clear() {
    let script = [Say("220 hi\r\n"), EHLO, Say("250-x\r\n250 AUTH PLAIN\r\n")];
    assert_eq!(opened(false, &script).await.err(), Some(OpenError::NoTls));
}

#[tokio::test]
async fn a_long_reply_is_read_to_its_end() {
    let mut script = vec![Say("220 hi\r\n"), EHLO];
    script.extend([Say("250-X-SOMETHING that no client has ever asked for\r\n"); 99]);
    script.push(Say("250 PIPELINING\r\n"));
    assert!(opened(true, &script).await.is_ok_and(|connection| connection.takes_ahead()));
}

#[tokio::test]
async fn an_endless_banner_is_not_read_to_its_end() {
    let server = Server::start().await;
    let flood = async {
        let stream = server.accept().await;
        let line = "220-all work and no play\r\n".repeat(1000);
        let mut sent = 0;
        while sent < 10_000_000 {
            stream.writable().await.unwrap();
            match stream.try_write(line.as_bytes()) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        sent
    };
    let timeouts = timeouts();
    let (sent, opened) = tokio::join!(flood, async { open(server.port(), &timeouts).await.err() });
    assert_eq!(opened, Some(OpenError::Broken(Broken::Protocol)));
    assert!(sent < 10_000_000, "the whole banner was taken");
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let server = Server::start().await;
    let short = Timeouts { command: Duration::from_millis(20), ..timeouts() };
    let (_held, opened) = tokio::join!(server.accept(), open(server.port(), &short));
    assert_eq!(opened.err().map(|error| error.verify_error()), Some(VerifyError::Timeout));
}
