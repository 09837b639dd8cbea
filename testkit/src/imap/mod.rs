//! An IMAP server for tests: one mailbox that any login reads, and misbehaviour on request. It speaks as much of RFC 3501
//! as a reader needs: CAPABILITY, LOGIN, EXAMINE, SELECT, UID SEARCH, UID FETCH with BODY.PEEK, LOGOUT.

mod session;

use std::{collections::VecDeque, io, net::Ipv4Addr, sync::Arc};

use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinSet};

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
}

/// A running server. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Imap {
    state: Arc<Mutex<State>>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl Imap {
    /// An empty mailbox on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State {
            uid_validity: 1,
            next_uid: 1,
            greeting: "* OK ready".into(),
            ..State::default()
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { state, port, _tasks: tasks })
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

    /// The next `times` commands that begin so (in upper case) meet this. `u32::MAX`: all.
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

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().connections += 1;
        sessions.spawn(session::serve(stream, Arc::clone(&state)));
        while sessions.try_join_next().is_some() {}
    }
}
