//! An IMAP server for tests: one mailbox that any login reads, and misbehaviour on request. It speaks as much of RFC 3501
//! as a reader needs: CAPABILITY, STARTTLS, LOGIN, EXAMINE, SELECT, UID SEARCH, UID FETCH with BODY.PEEK, LOGOUT.

mod session;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::sink::{Identity, Tls};

/// What happens instead of the answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing any more, until the client leaves.
    Hang,
    /// Bytes that are no answer.
    Garbage,
    /// `* BYE` and the end.
    Bye,
    /// The end without a word.
    Close,
    /// A literal of 900 MB is announced.
    HugeLiteral,
    /// A line that never ends.
    EndlessLine,
    /// Good lines that never end the command, a byte at a time.
    Drip,
    /// `NO`.
    Refuse,
}

/// A mail of the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its UID.
    pub uid: u32,
    /// Headers and body.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    mails: Vec<Mail>,
    uid_validity: u32,
    next_uid: u32,
    /// The beginning of a command in upper case, and how often it is met.
    troubles: VecDeque<(String, Trouble, u32)>,
    password: Option<String>,
    greeting: String,
    commands: Vec<String>,
    connections: usize,
    clear_logins: usize,
    written: u64,
}

/// A running server. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Imap {
    state: Arc<Mutex<State>>,
    port: u16,
    ca_pem: Option<String>,
    _tasks: JoinSet<()>,
}

/// Sets up an [`Imap`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    listen: SocketAddr,
    tls: Tls,
    tls_names: Vec<String>,
}

impl Builder {
    /// Listens here instead of on a free port of 127.0.0.1.
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Has TLS, with a certificate for its address by an authority made for this server.
    pub const fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The host names and addresses in the certificate, `localhost` and `127.0.0.1` by default.
    pub fn tls_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.tls_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Listens and serves an empty mailbox until the [`Imap`] is dropped.
    ///
    /// # Errors
    /// The address cannot be listened on, or the certificate cannot be made.
    pub async fn start(self) -> io::Result<Imap> {
        let (acceptor, ca_pem) = match self.tls {
            Tls::None => (None, None),
            Tls::StartTls | Tls::Implicit => {
                let identity = Identity::generate(&self.tls_names)?;
                let ca_pem = identity.ca_pem().map(str::to_owned);
                (Some(identity.acceptor()?), ca_pem)
            }
        };
        let listener = TcpListener::bind(self.listen).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State {
            uid_validity: 1,
            next_uid: 1,
            greeting: "* OK ready".into(),
            ..State::default()
        }));
        let mut tasks = JoinSet::new();
        let secured = acceptor.map(|acceptor| (self.tls, acceptor));
        tasks.spawn(accept(listener, Arc::clone(&state), secured));
        Ok(Imap { state, port, ca_pem, _tasks: tasks })
    }
}

impl Imap {
    /// An empty mailbox on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// A mailbox with TLS, or on an address of its own.
    pub fn builder() -> Builder {
        Builder {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: Tls::None,
            tls_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        }
    }

    /// The authority to trust for its certificate; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// How often somebody logged in without TLS.
    pub fn clear_logins(&self) -> usize {
        self.state.lock().clear_logins
    }

    /// Bytes that a [`Trouble`] wrote before the client left.
    pub fn written(&self) -> u64 {
        self.state.lock().written
    }

    /// The port that it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Puts a mail into the mailbox; answers its UID.
    pub fn deliver(&self, mail: impl AsRef<[u8]>) -> u32 {
        let mut state = self.state.lock();
        let uid = state.next_uid;
        state.next_uid += 1;
        state.mails.push(Mail { uid, bytes: mail.as_ref().to_vec() });
        uid
    }

    /// Gives all mails new UIDs, from 1 on, under another UIDVALIDITY.
    pub fn renumber(&self) {
        let mut state = self.state.lock();
        state.uid_validity += 1;
        for (uid, mail) in (1..).zip(&mut state.mails) {
            mail.uid = uid;
        }
        state.next_uid = u32::try_from(state.mails.len()).unwrap_or(u32::MAX).saturating_add(1);
    }

    /// The next `times` commands that begin so (in upper case) meet this. `u32::MAX`: all. `GREETING`: who connects.
    pub fn trouble(&self, command: &str, trouble: Trouble, times: u32) {
        self.state.lock().troubles.push_back((command.to_uppercase(), trouble, times));
    }

    /// Ends all troubles.
    pub fn heal(&self) {
        self.state.lock().troubles.clear();
    }

    /// Lets in with this password alone.
    pub fn set_password(&self, password: &str) {
        self.state.lock().password = Some(password.to_owned());
    }

    /// Greets so from now on.
    pub fn set_greeting(&self, line: &str) {
        line.clone_into(&mut self.state.lock().greeting);
    }

    /// All commands so far, without their tags; passwords are left out.
    pub fn commands(&self) -> Vec<String> {
        self.state.lock().commands.clone()
    }

    /// How many commands began so.
    pub fn count(&self, command: &str) -> usize {
        self.commands().iter().filter(|known| known.to_uppercase().starts_with(command)).count()
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, tls: Option<(Tls, TlsAcceptor)>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().connections += 1;
        sessions.spawn(session::serve(stream, Arc::clone(&state), tls.clone()));
        while sessions.try_join_next().is_some() {}
    }
}
