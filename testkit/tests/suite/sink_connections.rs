//! Greetings, AUTH, TLS and pipelining.

use std::time::{Duration, Instant};

use testkit::sink::{Auth, Greeting, Sink, Tls};

use crate::client::{Client, SOON};

#[tokio::test]
async fn greetings_can_be_late_wrong_or_missing() {
    let sink = Sink::start().await.unwrap();
    let late = Duration::from_millis(40);
    sink.greet_next([
        Greeting::Delayed(late),
        Greeting::busy(),
        Greeting::random_bytes(),
        Greeting::Close,
        Greeting::Silent,
    ]);
    let start = Instant::now();
    assert_eq!(Client::dial(sink.address()).await.reply().await.code(), 220);
    assert!(start.elapsed() >= late);
    let mut busy = Client::dial(sink.address()).await;
    assert_eq!(busy.reply().await.code(), 421);
    assert!(busy.reply().await.is_end());
    assert_eq!(Client::dial(sink.address()).await.reply().await.code(), 0);
    assert!(Client::dial(sink.address()).await.reply().await.is_end());
    let mut silent = Client::dial(sink.address()).await;
    let waited = tokio::time::timeout(Duration::from_millis(20), silent.reply()).await;
    assert!(waited.is_err());
    assert_eq!(Client::dial(sink.address()).await.reply().await.code(), 220);
}

#[tokio::test]
async fn a_huge_banner_never_ends() {
    let sink = Sink::builder().greeting(Greeting::huge(1_000_000)).start().await.unwrap();
    let mut client = Client::dial(sink.address()).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), client.reply()).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn auth_lets_in_whom_it_should() {
    let sink = Sink::builder().auth("ann", "secret").start().await.unwrap();
    let mut client = Client::connect(sink.address()).await;
    assert_eq!(client.say("MAIL FROM:<a@test>").await.code(), 530);
    assert_eq!(client.say("AUTH PLAIN AGFubgB3cm9uZw==").await.code(), 535);
    assert_eq!(client.say("AUTH PLAIN AGFubgBzZWNyZXQ=").await.code(), 235);
    assert_eq!(client.send("ok@test").await.code(), 250);
    let mut login = Client::connect(sink.address()).await;
    assert_eq!(login.say("AUTH LOGIN").await.code(), 334);
    assert_eq!(login.say("YW5u").await.code(), 334);
    assert_eq!(login.say("c2VjcmV0").await.code(), 235);
    let users: Vec<_> = sink.connections().into_iter().map(|connection| connection.user).collect();
    assert_eq!(users, [Some("ann".to_owned()), Some("ann".to_owned())]);
    assert!(sink.commands().iter().all(|command| !command.line.contains("AGFub")));
    sink.set_auth(Auth::Refuse("535 5.7.8 no".to_owned()));
    let mut refused = Client::connect(sink.address()).await;
    assert_eq!(refused.say("AUTH PLAIN AGFubgBzZWNyZXQ=").await.code(), 535);
}

#[tokio::test]
async fn starttls_drops_what_was_sent_ahead_of_it() {
    let sink = Sink::builder().tls(Tls::StartTls).start().await.unwrap();
    let ca = sink.ca_pem().unwrap();
    let mut client = Client::connect(sink.address()).await;
    client.write("STARTTLS\r\nMAIL FROM:<smuggled@test>\r\n").await;
    assert_eq!(client.reply().await.code(), 220);
    let mut client = client.secure(ca, "localhost").await.unwrap();
    let ehlo = client.say("EHLO test").await;
    assert!(!ehlo.0.contains("STARTTLS"), "{ehlo:?}");
    assert_eq!(client.send("ok@test").await.code(), 250);
    assert!(sink.connections().iter().all(|connection| connection.tls));
    assert_eq!(sink.command_count("MAIL"), 1);
}

#[tokio::test]
async fn an_injected_answer_comes_in_clear_behind_the_220() {
    let injected = "250 2.1.0 trust me\r\n";
    let sink = Sink::builder().tls(Tls::StartTls).inject_after_starttls(injected).start().await.unwrap();
    let mut client = Client::connect(sink.address()).await;
    assert_eq!(client.say("STARTTLS").await.code(), 220);
    assert_eq!(client.reply().await.0, injected);
}

#[tokio::test]
async fn implicit_tls_is_for_the_names_it_was_asked_for() {
    let sink = Sink::builder().tls(Tls::Implicit).tls_names(["mail.test"]).start().await.unwrap();
    let ca = sink.ca_pem().unwrap();
    let wrong = Client::dial(sink.address()).await.secure(ca, "localhost").await;
    assert!(wrong.is_err());
    let mut client = Client::dial(sink.address()).await.secure(ca, "mail.test").await.unwrap();
    assert_eq!(client.reply().await.code(), 220);
    assert_eq!(client.send("ok@test").await.code(), 250);
}

#[tokio::test]
async fn a_burst_of_messages_over_one_connection_is_answered_in_order() {
    let sink = Sink::start().await.unwrap();
    let mut client = Client::connect(sink.address()).await;
    let one = "MAIL FROM:<a@test>\r\nRCPT TO:<b@test>\r\nDATA\r\nSubject: a\r\n\r\nb\r\n.\r\n";
    client.write(&one.repeat(50)).await;
    for number in 1..=50 {
        for code in [250, 250, 354] {
            assert_eq!(client.reply().await.code(), code);
        }
        assert!(client.reply().await.0.ends_with(&format!("sink-{number}\r\n")));
    }
    sink.wait_for(50, SOON).await.unwrap();
}
