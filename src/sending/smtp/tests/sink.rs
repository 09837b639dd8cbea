//! Against the testkit's sink: TLS, and messages as a server receives them.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use testkit::sink::{Auth, Sink, Tls};

use super::script::{ENVELOPE, endpoint, timeouts};
use crate::net::resolve::scripted::ScriptedDns;
use crate::net::{DialError, DialPolicy, Dialer, VerifyError};
use crate::sending::smtp::{DataOutcome, Envelope, OpenError, SmtpConnection, verify_smtp};

pub(super) fn dialer(sink: &Sink, allow_plain_mail: bool) -> Dialer {
    let roots: Vec<_> = sink
        .ca_pem()
        .into_iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .collect();
    let policy = DialPolicy { allow_private: true, allow_plain_mail };
    let dns = ScriptedDns::default().address("other.test", &["127.0.0.1"]);
    Dialer::with(policy, Arc::new(dns), &roots).unwrap()
}

#[tokio::test]
async fn a_message_arrives_byte_for_byte_over_starttls() {
    let sink = Sink::builder().tls(Tls::StartTls).auth("me", "secret").start().await.unwrap();
    let mut connection =
        SmtpConnection::open(&dialer(&sink, false), &endpoint(sink.port()), &timeouts()).await.unwrap();
    assert!(connection.is_secure());
    let message = b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n";
    let mut next = Some(ENVELOPE);
    for _ in 0..3 {
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let outcome = connection.data(offered, message, next.as_ref(), &|| true).await;
        assert!(matches!(outcome, DataOutcome::Accepted(_)), "{outcome:?}");
        next = next.filter(|_| connection.served() < 2);
    }
    connection.quit().await;
    assert_eq!(sink.count(), 3);
    assert!(sink.messages().iter().all(|it| it.raw.as_ref() == message && it.is_to("b@y.test")));
}

/// What a message of 70 kB was written from is kept for the next, what one of 700 kB was is not.
#[tokio::test]
async fn the_room_of_a_message_is_kept_for_the_next_unless_it_grew_large() {
    let sink = Sink::start().await.unwrap();
    let mut connection =
        SmtpConnection::open(&dialer(&sink, true), &endpoint(sink.port()), &timeouts()).await.unwrap();
    for (lines, is_kept) in [(5_000, true), (50_000, false)] {
        let message = "a line of it\r\n".repeat(lines);
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let outcome = connection.data(offered, message.as_bytes(), None, &|| true).await;
        assert!(matches!(outcome, DataOutcome::Accepted(_)), "{outcome:?}");
        assert_eq!(connection.scratch.capacity() >= message.len(), is_kept);
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_auth_failure() {
    let sink = Sink::builder().tls(Tls::StartTls).auth("me", "other").start().await.unwrap();
    let checked = verify_smtp(&dialer(&sink, false), &endpoint(sink.port()), &timeouts()).await;
    assert_eq!(checked, Err(VerifyError::AuthFailed));
    sink.set_auth(Auth::Required { user: "me".to_owned(), password: "secret".to_owned() });
    assert_eq!(verify_smtp(&dialer(&sink, false), &endpoint(sink.port()), &timeouts()).await, Ok(()));
}

#[tokio::test]
async fn a_server_without_auth_serves_only_where_plain_mail_is_allowed() {
    let sink = Sink::builder().tls(Tls::StartTls).auth_mode(Auth::Open).start().await.unwrap();
    let strict = SmtpConnection::open(&dialer(&sink, false), &endpoint(sink.port()), &timeouts()).await;
    assert_eq!(strict.err(), Some(OpenError::NoAuth));
    let lax = SmtpConnection::open(&dialer(&sink, true), &endpoint(sink.port()), &timeouts()).await;
    assert!(lax.is_ok_and(|connection| connection.is_secure()));
}

#[tokio::test]
async fn the_certificate_must_be_good_for_the_host() {
    let sink = Sink::builder().tls(Tls::StartTls).start().await.unwrap();
    let mut elsewhere = endpoint(sink.port());
    elsewhere.host = "other.test";
    let wrong_name = SmtpConnection::open(&dialer(&sink, true), &elsewhere, &timeouts()).await;
    assert_eq!(wrong_name.err(), Some(OpenError::Dial(DialError::Tls)));
    let no_root = Dialer::with(dialer(&sink, true).policy(), Arc::new(ScriptedDns::default()), &[]).unwrap();
    let unknown = SmtpConnection::open(&no_root, &endpoint(sink.port()), &timeouts()).await;
    assert_eq!(unknown.err().map(|error| error.verify_error()), Some(VerifyError::TlsFailed));
}

#[tokio::test]
async fn each_misbehaviour_of_the_sink_has_its_outcome() {
    let sink = Sink::builder().start().await.unwrap();
    let dialer = dialer(&sink, true);
    let mut timeouts = timeouts();
    timeouts.final_reply = Duration::from_millis(500);
    for (to, expected) in [
        ("ok@x.test", "Accepted"),
        ("reject-data-554@x.test", "Refused"),
        ("defer-data-451@x.test", "Deferred"),
        ("close-at-data@x.test", "NotSent"),
        ("close-after-dot@x.test", "Unknown"),
        ("silent-after-dot@x.test", "Unknown"),
        ("garbage-after-dot@x.test", "Unknown"),
    ] {
        let mut connection = SmtpConnection::open(&dialer, &endpoint(sink.port()), &timeouts).await.unwrap();
        let offered = connection.offer(&Envelope { from: "a@x.test", to, size: 9 }).await.unwrap();
        let outcome = connection.data(offered, b"a: b\r\n\r\nc\r\n", None, &|| true).await;
        assert!(format!("{outcome:?}").starts_with(expected), "{to}: {outcome:?}");
    }
}
