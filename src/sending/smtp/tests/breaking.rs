//! Connections that break while a message is written.

use std::{sync::Mutex, time::Duration};

use tokio::net::TcpStream;

use super::{
    script::{
        ENVELOPE, NEXT, Server,
        Step::{Hear, Say},
        open, play_on, timeouts,
    },
    sending::{GO, HELLO, OFFER, kind, script},
};
use crate::sending::smtp::{Envelope, Timeouts};

/// The message is more than any socket takes, so that writing it fails before the dot.
#[tokio::test]
async fn a_write_that_fails_before_the_dot_has_sent_nothing() {
    let server = Server::start().await;
    let large = "hello\r\n".repeat(4 * 1024 * 1024);
    let client = async {
        let mut connection = open(server.port(), &timeouts()).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        connection.data(offered, large.as_bytes(), None, &|| true).await
    };
    let closing = async { play_on(&mut server.accept().await, &script(&[&HELLO, &OFFER, &GO])).await };
    let (outcome, ()) = tokio::join!(client, closing);
    assert_eq!(kind(&outcome), "not sent", "{outcome:?}");
}

/// The server is gone between its word to go on and the message, which was to go out in one piece with its dot.
#[tokio::test]
async fn a_server_that_is_gone_before_the_last_piece_was_sent_nothing() {
    let server = Server::start().await;
    let held = Mutex::new(None::<TcpStream>);
    // Asked before DATA, when nobody holds it yet, and right before the dot.
    let alive = || {
        drop(held.lock().unwrap().take());
        true
    };
    let client = async {
        let mut connection = open(server.port(), &timeouts()).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        (connection.data(offered, b"hello", None, &alive).await, connection.is_usable())
    };
    let resetting = async {
        let mut stream = server.accept().await;
        stream.set_zero_linger().unwrap();
        let [heard, said, _] = GO;
        play_on(&mut stream, &script(&[&HELLO, &OFFER, &[heard, said]])).await;
        *held.lock().unwrap() = Some(stream);
    };
    let ((outcome, usable), ()) = tokio::join!(client, resetting);
    assert!(held.into_inner().unwrap().is_none(), "it was asked, and the server gone");
    assert_eq!((kind(&outcome), usable), ("not sent", false), "{outcome:?}");
}

/// What follows the dot is more than any socket takes, so that writing it fails behind the dot.
#[tokio::test]
async fn a_write_that_fails_behind_the_dot_leaves_the_servers_word_and_ends_the_connection() {
    let server = Server::start().await;
    let short = Timeouts { body: Duration::from_millis(50), ..timeouts() };
    let to = "c".repeat(32 * 1024 * 1024);
    let next = Envelope { to: &to, ..NEXT };
    let (done, waits) = tokio::sync::oneshot::channel::<()>();
    let port = server.port();
    let client = async move {
        let mut connection = open(port, &short).await.unwrap();
        let offered = connection.offer(&ENVELOPE).await.unwrap();
        let outcome = connection.data(offered, b"hello", Some(&next), &|| true).await;
        drop(done);
        (outcome, connection.is_usable())
    };
    let serving = async {
        let mut stream = server.accept().await;
        let steps = script(&[&HELLO, &OFFER, &GO, &[Hear(".\r\n"), Say("250 ok\r\n")]]);
        play_on(&mut stream, &steps).await;
        waits.await.unwrap_err();
    };
    let ((outcome, usable), ()) = tokio::join!(client, serving);
    assert_eq!((kind(&outcome), usable), ("accepted", false), "{outcome:?}");
}
