//! A server that says and expects exactly what it is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::net::resolve::scripted::ScriptedDns;
use crate::net::{DialPolicy, Dialer};
use crate::sending::smtp::{Endpoint, Envelope, OpenError, SmtpConnection, Timeouts};

/// What the server does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Say(&'static str),
    Hear(&'static str),
}

pub(super) const ENVELOPE: Envelope<'static> = Envelope { from: "a@x.test", to: "b@y.test", size: 5 };
pub(super) const NEXT: Envelope<'static> = Envelope { from: "a@x.test", to: "c@y.test", size: 6 };

pub(super) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Plays the script to one client, closes its side and returns what else came until the client closed.
    pub(super) async fn play(&self, steps: &[Step]) -> String {
        let mut stream = self.accept().await;
        play_on(&mut stream, steps).await;
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // A client that drops a connection with unread replies resets it: that is an end like any other.
        stream.read_to_end(&mut rest).await.unwrap_or_default();
        String::from_utf8(rest).unwrap()
    }

    pub(super) async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

pub(super) async fn play_on(stream: &mut TcpStream, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Step::Hear(text) => {
                let mut heard = vec![0; text.len()];
                let whole = stream.read_exact(&mut heard).await;
                assert!(whole.is_ok(), "{whole:?} instead of {text:?}");
                assert_eq!(String::from_utf8(heard).unwrap(), *text);
            }
        }
    }
}

pub(super) fn dialer(allow_plain_mail: bool) -> Dialer {
    let policy = DialPolicy { allow_private: true, allow_plain_mail };
    Dialer::with(policy, Arc::new(ScriptedDns::default()), &[]).unwrap()
}

/// Nothing on loopback takes so long unless it never comes.
pub(super) fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(10),
        command: Duration::from_secs(10),
        before_data: Duration::from_secs(10),
        data: Duration::from_secs(10),
        body: Duration::from_secs(10),
        final_reply: Duration::from_secs(10),
        quit: Duration::from_secs(10),
    }
}

pub(super) const fn endpoint(port: u16) -> Endpoint<'static> {
    Endpoint { host: "127.0.0.1", port, username: "me", password: "secret" }
}

pub(super) async fn open(port: u16, timeouts: &Timeouts) -> Result<SmtpConnection, OpenError> {
    SmtpConnection::open(&dialer(true), &endpoint(port), timeouts).await
}
