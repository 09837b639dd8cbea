//! A TCP proxy that a test can hold, cut, restore and slow down, for SMTP and for databases.
//! It looks at bytes only to lose the answer to a named request; what a server should answer wrongly is [`crate::sink`]'s
//! affair.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The most that is read at once.
const CHUNK: usize = 16 * 1024;
/// Chunks under way in one direction: with a delay this is what a long line holds.
const UNDER_WAY: usize = 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both.
    Both,
}

/// A running proxy. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    losses: Arc<Losses>,
    _tasks: JoinSet<()>,
}

/// How many requests were seen whose answers may be lost, and how many answers were.
#[derive(Debug, Default)]
struct Losses {
    seen: AtomicU64,
    lost: AtomicU64,
}

/// The state of the line, the same for all connections.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    down: bool,
    /// How often it was cut: a connection that saw another number is over.
    cuts: u64,
    /// How often it froze: a connection that saw another number lets nothing more pass.
    freezes: u64,
    up_held: bool,
    down_held: bool,
    delay: Duration,
    loses: Option<Loses>,
}

/// Of what contains this text, requests or answers, the answer of every so manieth is lost.
#[derive(Debug, Clone, Copy)]
struct Loses {
    direction: Direction,
    text: &'static [u8],
    nth: u64,
}

impl Line {
    const fn is_held(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.up_held,
            Direction::Down => self.down_held,
            Direction::Both => self.up_held || self.down_held,
        }
    }

    const fn set_held(&mut self, direction: Direction, held: bool) {
        match direction {
            Direction::Up => self.up_held = held,
            Direction::Down => self.down_held = held,
            Direction::Both => {
                self.up_held = held;
                self.down_held = held;
            }
        }
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and relays to `upstream`.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (line, losses) = (watch::Sender::new(Line::default()), Arc::<Losses>::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, upstream, line.subscribe(), Arc::clone(&losses)));
        Ok(Self { address, line, losses, _tasks: tasks })
    }

    /// Where clients connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port clients connect to.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets nothing more pass in this direction; connections stay open, what comes is kept.
    pub fn hold(&self, direction: Direction) {
        self.line.send_modify(|line| line.set_held(direction, true));
    }

    /// Lets pass again, first what was kept.
    pub fn release(&self, direction: Direction) {
        self.line.send_modify(|line| line.set_held(direction, false));
    }

    /// Lets nothing pass on the connections that there are, which stay open for ever; new ones are relayed.
    pub fn freeze(&self) {
        self.line.send_modify(|line| line.freezes += 1);
    }

    /// Closes all connections, with what is under way, and every new one at once, until [`Self::restore`].
    pub fn cut(&self) {
        self.line.send_modify(|line| {
            line.down = true;
            line.cuts += 1;
        });
    }

    /// Closes all connections once; new ones are relayed.
    pub fn drop_connections(&self) {
        self.line.send_modify(|line| line.cuts += 1);
    }

    /// Relays new connections again, holds nothing and loses nothing.
    pub fn restore(&self) {
        self.line.send_modify(|line| {
            line.down = false;
            line.loses = None;
            line.set_held(Direction::Both, false);
        });
    }

    /// Of requests that contain `text`, every `nth` (from 1) reaches the server, and when it has answered, the connection
    /// is closed instead of passing the answer on. For protocols whose client waits for each answer.
    pub fn lose_answers(&self, text: &'static [u8], nth: u64) {
        self.lose(Direction::Up, text, nth);
    }

    /// The same of every `nth` answer that has this text, whatever it answers.
    pub fn lose_answers_that_say(&self, text: &'static [u8], nth: u64) {
        self.lose(Direction::Down, text, nth);
    }

    fn lose(&self, direction: Direction, text: &'static [u8], nth: u64) {
        self.line.send_modify(|line| line.loses = Some(Loses { direction, text, nth: nth.max(1) }));
    }

    /// How many answers were lost so.
    pub fn lost(&self) -> u64 {
        self.losses.lost.load(Ordering::Acquire)
    }

    /// Delivers every byte this much later, each way, from now on: a round trip is twice this.
    /// Latency only; what is sent together arrives together.
    pub fn delay(&self, each_way: Duration) {
        self.line.send_modify(|line| line.delay = each_way);
    }
}

/// Accepts until dropped; the connections end with it.
async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    line: watch::Receiver<Line>,
    losses: Arc<Losses>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted && !line.borrow().down {
                    connections.spawn(connection(client, upstream, line.clone(), Arc::clone(&losses)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Relays one connection until both sides are done, one breaks, or the line is cut.
async fn connection(
    client: TcpStream,
    upstream: SocketAddr,
    line: watch::Receiver<Line>,
    losses: Arc<Losses>,
) {
    let cuts = line.borrow().cuts;
    let mut watched = line.clone();
    tokio::select! {
        biased;
        _ = watched.wait_for(|line| line.cuts != cuts) => {}
        // Either side may break at any time; both are closed then, which is all there is to do.
        _ = relay(client, upstream, line, losses) => {}
    }
}

async fn relay(
    client: TcpStream,
    upstream: SocketAddr,
    line: watch::Receiver<Line>,
    losses: Arc<Losses>,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let freezes = line.borrow().freezes;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let watch = Watch { line: line.clone(), freezes, losses, due: AtomicBool::new(false) };
    tokio::try_join!(
        pump(from_client, to_server, line.clone(), Direction::Up, &watch),
        pump(from_server, to_client, line, Direction::Down, &watch),
    )?;
    Ok(())
}

/// Looks out for the requests of one connection whose answer is to be lost.
struct Watch {
    line: watch::Receiver<Line>,
    /// How often the line had frozen when the connection came.
    freezes: u64,
    losses: Arc<Losses>,
    /// The next answer is lost.
    due: AtomicBool,
}

impl Watch {
    fn pass(&self, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        if let Some(Loses { direction: looked_at, text, nth }) = self.line.borrow().loses
            && looked_at == direction
            && memmem::find(bytes, text).is_some()
        {
            let seen = self.losses.seen.fetch_add(1, Ordering::AcqRel) + 1;
            self.due.store(seen.is_multiple_of(nth), Ordering::Release);
        }
        if direction == Direction::Down && self.due.load(Ordering::Acquire) {
            self.losses.lost.fetch_add(1, Ordering::AcqRel);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Reads and writes at the same time, so that a delay holds back no later byte's reading.
async fn pump(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    line: watch::Receiver<Line>,
    direction: Direction,
    watch: &Watch,
) -> io::Result<()> {
    let (chunks, queue) = mpsc::channel(UNDER_WAY);
    let passes = |bytes: &[u8]| watch.pass(direction, bytes);
    tokio::try_join!(
        read(reader, chunks, line.clone(), passes),
        write(writer, queue, line, (direction, watch.freezes))
    )?;
    Ok(())
}

type Chunk = (Instant, Vec<u8>);

async fn read(
    mut reader: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<Chunk>,
    line: watch::Receiver<Line>,
    passes: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK);
        let length = reader.read_buf(&mut bytes).await?;
        passes(&bytes)?;
        let due = Instant::now() + line.borrow().delay;
        if length == 0 || chunks.send((due, bytes)).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes each chunk when it is due; the end of the queue is passed on as the end of the stream.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Chunk>,
    mut line: watch::Receiver<Line>,
    (direction, freezes): (Direction, u64),
) -> io::Result<()> {
    while let Some((due, bytes)) = queue.recv().await {
        sleep_until(due).await;
        // The sender is gone only when the proxy is, and then nothing is to be written.
        if line.wait_for(|line| !line.is_held(direction) && line.freezes == freezes).await.is_err() {
            return Ok(());
        }
        writer.write_all(&bytes).await?;
    }
    writer.shutdown().await
}
