//! How system mail gets to the relay: its settings, TLS, and what happens while it is away.

use std::time::{Duration, Instant};

use ampout::mailers::{Relay, RelayError, RelaySettings};
use loco_rs::mailer::Email;
use testkit::{
    sink::{Behaviour, Greeting, Sink, Stage, Tls},
    wait::eventually,
};

use super::{DEADLINE, engine, engine_to, until};
use crate::support::{World, world};

/// Lets the mails that wait for their next try go at once.
async fn hurry(w: &World) {
    w.sql("UPDATE jobs SET run_at = 0 WHERE status = 'queued'", []).await;
}

/// Waits until every mail was tried and put back.
async fn until_refused(w: &World, attempts: i64) {
    let sql =
        "SELECT count(*) FROM jobs WHERE status = 'queued' AND last_error IS NOT NULL AND attempts >= $1";
    let seen = eventually(DEADLINE, || async { (w.number(sql, [attempts.into()]).await == 2).then_some(()) });
    seen.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_waits_while_the_relay_is_away_and_arrives_once() {
    world(|w| async move {
        let sink = Sink::builder().greeting(Greeting::busy()).start().await.unwrap();
        let _engine = engine(&w, &sink).start().unwrap();
        until_refused(&w, 1).await;
        hurry(&w).await;
        until_refused(&w, 2).await;
        assert_eq!(sink.count(), 0);
        sink.set_greeting(Greeting::Banner);
        hurry(&w).await;
        until(&w, "completed", 2).await;
        assert_eq!(sink.messages_to("alice@example.com").len(), 1);
        assert_eq!(sink.messages_to("bob@example.com").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_is_refused_for_good_is_given_up_at_once_and_others_are_not() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        sink.script("alice@example.com", vec![Behaviour::reject(550), Behaviour::Accept]);
        sink.script("bob@example.com", vec![Behaviour::policy(Stage::Rcpt, 550), Behaviour::Accept]);
        let mut engine = engine(&w, &sink).env("LOG_LEVEL", "info").start().unwrap();
        until(&w, "failed", 1).await;
        engine.wait_for_output("job given up", DEADLINE).await.unwrap();
        let tried =
            "SELECT attempts FROM jobs WHERE status = 'failed' AND last_error LIKE '%no such mailbox%'";
        assert_eq!(w.number(tried, []).await, 1);
        // Whom the relay refuses for the sender's sake is written to when the operator has mended that.
        let waits = "SELECT count(*) FROM jobs WHERE status = 'queued' AND attempts = 1";
        eventually(DEADLINE, || async { (w.number(waits, []).await == 1).then_some(()) }).await.unwrap();
        hurry(&w).await;
        until(&w, "completed", 1).await;
        assert_eq!(
            (sink.messages_to("alice@example.com").len(), sink.messages_to("bob@example.com").len()),
            (0, 1)
        );
    })
    .await;
}

/// Both mails go to a relay with TLS, by a process that trusts its authority and allows no plain text.
async fn arrives_over_tls(sink: Sink, scheme: &str) {
    world(|w| async move {
        let engine = engine_to(&w, &format!("{scheme}://user%40x:p%2Fss@127.0.0.1:{}", sink.port()));
        let authority = engine.path("authority.pem");
        std::fs::write(&authority, sink.ca_pem().unwrap()).unwrap();
        let engine = engine.env("SSL_CERT_FILE", &authority).env("ALLOW_PLAIN_MAIL", "false");
        let engine = engine.env("LOG_LEVEL", "debug").start().unwrap();
        until(&w, "completed", 2).await;
        assert_eq!(sink.count(), 2);
        assert!(sink.connections().iter().all(|connection| connection.tls), "nothing goes in clear");
        let log = engine.output();
        assert!(!log.contains("p/ss") && !log.contains("p%2Fss"), "the password is in the log");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtps_is_tls_from_the_first_byte() {
    let sink = Sink::builder().tls(Tls::Implicit).auth("user@x", "p/ss").start().await.unwrap();
    arrives_over_tls(sink, "smtps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_is_starttls() {
    let sink = Sink::builder().tls(Tls::StartTls).auth("user@x", "p/ss").start().await.unwrap();
    arrives_over_tls(sink, "smtp").await;
}

fn email(to: &str) -> Email {
    Email {
        to: to.to_owned(),
        subject: "Hello".to_owned(),
        text: "text".to_owned(),
        html: "<p>page</p>".to_owned(),
        ..Email::default()
    }
}

fn relay(url: &str, allow_plain: bool) -> Relay {
    let settings = RelaySettings::parse(url, "no-reply@ampout.test").unwrap().unwrap();
    Relay::new(&settings, allow_plain).unwrap()
}

#[tokio::test]
async fn nothing_is_said_in_clear_where_that_is_not_allowed() {
    let sink = Sink::builder().auth("user", "secret").start().await.unwrap();
    let url = format!("smtp://user:secret@127.0.0.1:{}", sink.port());
    let refused = relay(&url, false).deliver(&email("ana@example.com")).await.unwrap_err();
    assert!(matches!(refused, RelayError::Refused(_)), "{refused}");
    assert!(!refused.to_string().contains("secret"), "{refused}");
    assert_eq!((sink.command_count("AUTH"), sink.count()), (0, 0));
    relay(&url, true).deliver(&email("ana@example.com")).await.unwrap();
    assert_eq!((sink.command_count("AUTH"), sink.count()), (1, 1));
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    for (tls, scheme) in [(Tls::StartTls, "smtp"), (Tls::Implicit, "smtps")] {
        let sink = Sink::builder().tls(tls).auth("user", "secret").start().await.unwrap();
        let url = format!("{scheme}://user:secret@127.0.0.1:{}", sink.port());
        let refused = relay(&url, true).deliver(&email("ana@example.com")).await;
        assert!(matches!(refused, Err(RelayError::Refused(_))), "{scheme}: {refused:?}");
        assert_eq!((sink.command_count("AUTH"), sink.count()), (0, 0), "{scheme}");
    }
}

#[tokio::test]
async fn a_relay_that_says_nothing_is_left_in_time() {
    let sink = Sink::builder().greeting(Greeting::Silent).start().await.unwrap();
    let relay = relay(&format!("smtp://127.0.0.1:{}", sink.port()), true).within(Duration::from_millis(300));
    let begun = Instant::now();
    let late = relay.deliver(&email("ana@example.com")).await.unwrap_err();
    assert!(matches!(late, RelayError::Timeout), "{late}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(sink.connections().len(), 1);
}

#[test]
fn wrong_settings_are_named_and_not_repeated() {
    let good = "Ampout <no-reply@example.com>";
    for url in [
        "mail.example.com",
        "http://hunter2@mail.example.com",
        "smtp://",
        "smtp://:hunter2@mail.example.com",
        "smtp://hunter2@mail.example.com",
        "smtps://user:hunter2@mail.example.com/path",
        "smtp://user:hunter2@mail.example.com?tls=none",
        "smtp://user:hunter2@mail.example.com:99999",
    ] {
        let (variable, problem) = RelaySettings::parse(url, good).expect_err(url);
        assert_eq!(variable, "SYSTEM_SMTP_URL", "{url}");
        assert!(!problem.contains("hunter2") && !problem.contains('\n'), "{problem}");
    }
    for from in ["", "nobody", "a@b@c", "Ampout no-reply@example.com", "x\r\ny@example.com"] {
        let (variable, problem) = RelaySettings::parse("smtps://mail.example.com", from).expect_err(from);
        assert_eq!(variable, "SYSTEM_MAIL_FROM", "{from}");
        assert!(!problem.contains('\n'), "{problem}");
    }
    assert!(RelaySettings::parse("", "nobody").is_err(), "a wrong sender is named without a server too");
    assert_eq!(RelaySettings::parse("", "").unwrap(), None);
    let settings = RelaySettings::parse("smtps://user:hunter2@mail.example.com", good).unwrap().unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
