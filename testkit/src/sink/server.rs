//! Listening, the options a sink is started with, and what its sessions share.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Sink;
use super::auth::Auth;
use super::behaviour::Scripts;
use super::hold::Holds;
use super::interruption::Interruptions;
use super::message::Message;
use super::session::Session;
use super::store::{Keep, Observer, Store};
use super::tls::{Identity, Tls};
use super::wire::Drip;

/// How the sink opens a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Greeting {
    /// 220.
    #[default]
    Banner,
    /// 220, this much later.
    Delayed(Duration),
    /// Nothing, for ever.
    Silent,
    /// This line; anything but 2yz closes.
    Reply(String),
    /// These bytes, and then whatever the client says is answered as usual.
    Raw(Bytes),
    /// Closes without a word.
    Close,
}

impl Greeting {
    /// 421 and close.
    pub fn busy() -> Self {
        Self::Reply("421 4.3.2 too many connections".to_owned())
    }

    /// Bytes that are no SMTP.
    pub const fn random_bytes() -> Self {
        Self::Raw(Bytes::from_static(b"\x16\x03\x01\xff\x00\x8f\xfe220\x00\r\n\r\n\xc0"))
    }

    /// A banner of about `size` bytes in one endless multi-line reply: never a last line.
    pub fn huge(size: usize) -> Self {
        const LINE: &str = "220-all work and no play makes a dull banner\r\n";
        Self::Raw(LINE.repeat(size.div_ceil(LINE.len())).into())
    }

    /// One line of about `size` bytes without an end.
    pub fn long_line(size: usize) -> Self {
        Self::Raw(format!("220 {}", "x".repeat(size)).into())
    }
}

/// How the sink has it with chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// Does not offer them.
    #[default]
    None,
    /// Offers and takes them.
    Offered,
    /// Offers them and does not know the command.
    Promised,
    /// Offers them and puts each off (451), as a gateway does that does not find their end.
    PutOff,
}

/// Sets up a [`Sink`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    listen: SocketAddr,
    options: Options,
    auth: Auth,
    greeting: Greeting,
    identity: Option<Identity>,
    tls_names: Vec<String>,
    keep: Keep,
    observer: Option<Observer>,
}

/// What stays the same while a sink runs.
pub(super) struct Options {
    pub(super) name: String,
    pub(super) max_size: usize,
    pub(super) pipelining: bool,
    pub(super) chunking: Chunking,
    pub(super) tls: Tls,
    /// Sent in clear right behind the 220 to STARTTLS.
    pub(super) injection: Bytes,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            options: Options {
                name: "sink.test".to_owned(),
                max_size: 50 * 1024 * 1024,
                pipelining: true,
                chunking: Chunking::None,
                tls: Tls::None,
                injection: Bytes::new(),
            },
            auth: Auth::Open,
            greeting: Greeting::Banner,
            identity: None,
            tls_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            keep: Keep::All,
            observer: None,
        }
    }
}

impl Builder {
    /// Listens here instead of on a free port of 127.0.0.1.
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Offers and requires AUTH with these credentials.
    pub fn auth(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth_mode(Auth::Required { user: user.into(), password: password.into() })
    }

    /// Sets whom the sink lets in.
    pub fn auth_mode(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Offers TLS; the certificate is for [`Self::tls_names`] by an authority made for this sink.
    pub const fn tls(mut self, tls: Tls) -> Self {
        self.options.tls = tls;
        self
    }

    /// Sends these bytes in clear right behind the 220 to STARTTLS, as an attacker on the way would: a
    /// client that takes them for answers inside TLS is broken (CVE-2011-0411 is the server's side of it).
    pub fn inject_after_starttls(mut self, bytes: impl Into<Bytes>) -> Self {
        self.options.injection = bytes.into();
        self
    }

    /// The host names and addresses in the certificate, `localhost` and `127.0.0.1` by default.
    pub fn tls_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.tls_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Uses this certificate instead of making one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// How connections are opened; [`Sink::set_greeting`] changes it later.
    pub fn greeting(mut self, greeting: Greeting) -> Self {
        self.greeting = greeting;
        self
    }

    /// Does not offer PIPELINING (commands sent ahead are still answered).
    pub const fn without_pipelining(mut self) -> Self {
        self.options.pipelining = false;
        self
    }

    /// Offers CHUNKING (RFC 3030), and takes chunks or not.
    pub const fn chunking(mut self, chunking: Chunking) -> Self {
        self.options.chunking = chunking;
        self
    }

    /// The largest message taken, in bytes, also offered as SIZE.
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.options.max_size = bytes;
        self
    }

    /// How much is kept of what comes.
    pub const fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Calls `observer` with each message, before its final reply; it must be quick.
    /// Not with [`Keep::Tally`].
    pub fn on_message(mut self, observer: impl Fn(&Message) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Listens and serves until the [`Sink`] is dropped.
    ///
    /// # Errors
    /// The address cannot be listened on, or the certificate cannot be made.
    pub async fn start(self) -> io::Result<Sink> {
        let (acceptor, ca_pem) = match self.options.tls {
            Tls::None => (None, None),
            Tls::StartTls | Tls::Implicit => {
                let identity = self.identity.map_or_else(|| Identity::generate(&self.tls_names), Ok)?;
                let ca_pem = identity.ca_pem().map(str::to_owned);
                (Some(identity.acceptor()?), ca_pem)
            }
        };
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options: self.options,
            acceptor,
            store: Store::new(self.keep, self.observer),
            scripts: Scripts::default(),
            holds: Arc::default(),
            interruptions: Interruptions::default(),
            silence: Notify::new(),
            auth: Mutex::new(self.auth),
            greetings: Mutex::new(Greetings { next: VecDeque::new(), usual: self.greeting }),
            drip: Arc::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Sink { shared, address, ca_pem, _tasks: tasks })
    }
}

/// What the sessions of a sink share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) store: Store,
    pub(super) scripts: Scripts,
    pub(super) holds: Arc<Holds>,
    pub(super) interruptions: Interruptions,
    /// Rings for all who keep silent after the dot.
    pub(super) silence: Notify,
    pub(super) auth: Mutex<Auth>,
    pub(super) greetings: Mutex<Greetings>,
    pub(super) drip: Arc<Drip>,
}

/// The greetings of the next connections, then the usual one.
pub(super) struct Greetings {
    pub(super) next: VecDeque<Greeting>,
    pub(super) usual: Greeting,
}

impl Shared {
    pub(super) fn next_greeting(&self) -> Greeting {
        let mut greetings = self.greetings.lock();
        greetings.next.pop_front().unwrap_or_else(|| greetings.usual.clone())
    }
}

/// Accepts until dropped; its sessions end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // What fails here is one client's connection (or a lack of file descriptors that passes).
                if let Ok((stream, peer)) = accepted {
                    let id = shared.store.open(peer);
                    sessions.spawn(Session::run(Arc::clone(&shared), stream, id));
                }
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}
