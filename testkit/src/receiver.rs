//! An HTTP/1.1 endpoint for webhooks that answers as it is told: with any status, late, never, far too much, bit by
//! bit, or with nonsense. What came is kept and can be waited for. It knows nothing of the application.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// The longest head of a request.
const MOST_HEAD: usize = 64 * 1024;
/// A piece of an endless body.
const PIECE: [u8; 8 * 1024] = [b'x'; 8 * 1024];

/// How a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// With this status and an empty body.
    Status(u16),
    /// With a status, headers and a body.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// With 204 once [`Receiver::release`] is called.
    Hold,
    /// Not at all; the connection stays open.
    Silent,
    /// With 200 and a body that never ends, as fast as it is taken.
    Endless,
    /// With 200 and so many headers.
    Headers(usize),
    /// With 200 and one header of so many bytes.
    LongHeader(usize),
    /// With a head that comes one byte at a time and never ends.
    DripHead(Duration),
    /// With 200 at once, and a body that comes one byte at a time and never ends.
    DripBody(Duration),
    /// By closing the connection.
    Close,
    /// With something that is no HTTP.
    Garbage,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The path, with its query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
}

impl Received {
    /// A header, empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Vec<Behaviour>>>,
    requests: Mutex<Vec<Received>>,
    only_counts: bool,
    count: watch::Sender<u64>,
    released: watch::Sender<bool>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    most_busy: AtomicUsize,
    written: AtomicU64,
}

/// A running endpoint; it ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Listens on a port of 127.0.0.1. Every path answers 204 until it is told otherwise.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Shared::default()).await
    }

    /// The same for load: requests are counted and not kept.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start_counting() -> io::Result<Self> {
        Self::start_with(Shared { only_counts: true, ..Shared::default() }).await
    }

    async fn start_with(shared: Shared) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, shared) = (listener.local_addr()?, Arc::new(shared));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _server: server })
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers requests to a path in this order; the last answer stays.
    pub fn script(&self, path: &str, answers: impl IntoIterator<Item = Behaviour>) {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        self.shared.scripts.lock().insert(path.to_owned(), answers);
    }

    /// Answers what is held, and what will be.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// What came to a path so far.
    pub fn requests(&self, path: &str) -> Vec<Received> {
        self.shared.requests.lock().iter().filter(|it| it.path == path).cloned().collect()
    }

    /// How many requests came so far.
    pub fn count(&self) -> u64 {
        *self.shared.count.borrow()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The most requests that waited for their answer at a time.
    pub fn most_at_a_time(&self) -> usize {
        self.shared.most_busy.load(Ordering::Relaxed)
    }

    /// Bytes of answers that were taken so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Waits until `count` requests came to any path.
    ///
    /// # Errors
    /// `TimedOut`.
    pub async fn wait_for_count(&self, count: u64, deadline: Duration) -> io::Result<()> {
        let mut seen = self.shared.count.subscribe();
        let came = timeout(deadline, seen.wait_for(|seen| *seen >= count)).await;
        let late = |()| io::Error::new(io::ErrorKind::TimedOut, format!("{} of {count} came", self.count()));
        came.map_err(|_| late(()))?.map(drop).map_err(|_| late(()))
    }

    /// Waits until `count` requests came to a path; answers all that came to it.
    ///
    /// # Errors
    /// `TimedOut`.
    pub async fn wait_for(&self, path: &str, count: usize, deadline: Duration) -> io::Result<Vec<Received>> {
        let mut seen = self.shared.count.subscribe();
        let came = timeout(deadline, async {
            loop {
                seen.mark_unchanged();
                let found = self.requests(path);
                if found.len() >= count || seen.changed().await.is_err() {
                    return found;
                }
            }
        });
        let text = || format!("{} of {count} came to {path}", self.requests(path).len());
        came.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, text()))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let ended = serve(stream, number, &shared).await;
                    // The other side closes when it likes.
                    ended.ok();
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Requests of one connection, until either side has enough.
async fn serve(mut stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await? {
        let behaviour = shared.next_answer(&request.path);
        if !shared.only_counts {
            shared.requests.lock().push(request);
        }
        shared.count.send_modify(|count| *count += 1);
        let busy = shared.busy.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_busy.fetch_max(busy, Ordering::Relaxed);
        let answered = respond(&mut stream, behaviour, shared).await;
        shared.busy.fetch_sub(1, Ordering::Relaxed);
        if !answered? {
            return Ok(());
        }
    }
    Ok(())
}

impl Shared {
    fn next_answer(&self, path: &str) -> Behaviour {
        let mut scripts = self.scripts.lock();
        match scripts.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.pop().unwrap_or(Behaviour::Status(204)),
            Some(answers) => answers.last().cloned().unwrap_or(Behaviour::Status(204)),
            None => Behaviour::Status(204),
        }
    }
}

/// The next request; `None` when the other side closed in between.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Option<Received>> {
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > MOST_HEAD || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(buffer.get(..head_end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let rest = buffer.split_off(head_end + length);
    let body = std::mem::replace(buffer, rest).split_off(head_end);
    Ok(Some(Received { path, headers, body, connection }))
}

/// Answers; `false` when the connection is at its end.
async fn respond(stream: &mut TcpStream, behaviour: Behaviour, shared: &Shared) -> io::Result<bool> {
    match behaviour {
        Behaviour::Status(status) => reply(stream, status, &[], b"").await?,
        Behaviour::Reply(status, headers, body) => reply(stream, status, &headers, &body).await?,
        Behaviour::Hold => {
            shared.released.subscribe().wait_for(|released| *released).await.ok();
            reply(stream, 204, &[], b"").await?;
        }
        Behaviour::Silent => return wait_for_close(stream).await,
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await?;
            loop {
                stream.write_all(&PIECE).await?;
                shared.written.fetch_add(PIECE.len() as u64, Ordering::Relaxed);
            }
        }
        Behaviour::Headers(count) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for number in 0..count {
                let line = format!("x-{number}: {number}\r\n");
                stream.write_all(line.as_bytes()).await?;
                shared.written.fetch_add(line.len() as u64, Ordering::Relaxed);
            }
            stream.write_all(b"content-length: 0\r\n\r\n").await?;
        }
        Behaviour::LongHeader(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(bytes));
            stream.write_all(head.as_bytes()).await?;
        }
        Behaviour::DripHead(pause) => return drip(stream, b"HTTP/1.1 200 OK\r\nx: ", pause).await,
        Behaviour::DripBody(pause) => {
            return drip(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", pause).await;
        }
        Behaviour::Close => return Ok(false),
        Behaviour::Garbage => {
            stream.write_all(b"\x16\x03\x01 220 who are you\r\n\r\n").await?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn reply(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Told\r\n");
    for (name, value) in headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    if status != 204 {
        head = format!("{head}content-length: {}\r\n", body.len());
    }
    let mut answer = format!("{head}\r\n").into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
}

async fn drip(stream: &mut TcpStream, start: &[u8], pause: Duration) -> io::Result<bool> {
    stream.write_all(start).await?;
    loop {
        sleep(pause).await;
        stream.write_all(b"z").await?;
    }
}

async fn wait_for_close(stream: &mut TcpStream) -> io::Result<bool> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(|_| false)
}
