//! A client that waits for every reply before its next command, as most do: kept connections, four round trips a message.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use testkit::api::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// The longest that one reply may take.
const REPLY: Duration = Duration::from_secs(30);

/// Sends messages of `bytes` bytes over so many connections at once; answers how many per second.
///
/// # Errors
/// The server closes or refuses.
pub async fn rate(to: SocketAddr, connections: u16, messages: u64, bytes: u64) -> Result<f64, Error> {
    let each = (messages / u64::from(connections)).max(1);
    let body = body(usize::try_from(bytes)?);
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let body = body.clone();
        clients.spawn(async move { send(to, each, &body).await });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let sent = f64::from(u32::try_from(each * u64::from(connections))?);
    Ok(sent / begun.elapsed().as_secs_f64())
}

fn body(bytes: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(70));
    let text = "Subject: A question\r\nFrom: <a@sender.example>\r\nTo: <b@example.com>\r\n\r\n";
    format!("{text}{}.\r\n", line.repeat(bytes.saturating_sub(text.len()) / line.len()))
}

async fn send(to: SocketAddr, messages: u64, body: &str) -> Result<(), Error> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    replied(&mut stream, "220").await?;
    asked(&mut stream, "EHLO bench\r\n", "250").await?;
    for _ in 0..messages {
        asked(&mut stream, "MAIL FROM:<a@sender.example>\r\n", "250").await?;
        asked(&mut stream, "RCPT TO:<b@example.com>\r\n", "250").await?;
        asked(&mut stream, "DATA\r\n", "354").await?;
        asked(&mut stream, body, "250").await?;
    }
    Ok(())
}

async fn asked(stream: &mut BufReader<TcpStream>, command: &str, expected: &str) -> Result<(), Error> {
    stream.write_all(command.as_bytes()).await?;
    replied(stream, expected).await
}

async fn replied(stream: &mut BufReader<TcpStream>, expected: &str) -> Result<(), Error> {
    let mut line = String::new();
    loop {
        line.clear();
        timeout(REPLY, stream.read_line(&mut line)).await??;
        if !line.starts_with(expected) {
            return Err(format!("{expected} was expected: {line}").into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
