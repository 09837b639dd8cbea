//! A plain SMTP client that shows every reply, for looking at the sink from the other side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(10);

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub struct Client {
    stream: BufStream<Box<dyn Duplex>>,
}

impl Client {
    /// Connects without reading the greeting.
    pub async fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream: BufStream::new(Box::new(stream)) }
    }

    /// Connects, reads the greeting and says EHLO.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::dial(address).await;
        assert_eq!(client.reply().await.code(), 220);
        assert_eq!(client.say("EHLO test").await.code(), 250);
        client
    }

    /// Goes over to TLS, trusting this authority.
    pub async fn secure(self, ca_pem: &str, name: &'static str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name).unwrap();
        let stream = connector.connect(name, self.stream.into_inner()).await?;
        Ok(Self { stream: BufStream::new(Box::new(stream)) })
    }

    /// Writes these bytes.
    pub async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a command line and reads its reply.
    pub async fn say(&mut self, line: &str) -> Reply {
        self.write(&format!("{line}\r\n")).await;
        self.reply().await
    }

    /// Reads a reply with all its lines; an empty one when the connection is closed.
    pub async fn reply(&mut self) -> Reply {
        timeout(SOON, self.read_reply()).await.unwrap()
    }

    async fn read_reply(&mut self) -> Reply {
        let mut text = String::new();
        loop {
            let start = text.len();
            match self.stream.read_line(&mut text).await {
                Ok(length) if length > 0 => {}
                Ok(_) | Err(_) => return Reply(String::new()),
            }
            if text.get(start + 3..=start + 3) != Some("-") {
                return Reply(text);
            }
        }
    }

    /// Sends a message up to and with its final dot, all in one write as PIPELINING allows save for
    /// waiting for the 354; gives the replies to MAIL, RCPT and DATA.
    pub async fn offer(&mut self, to: &str) -> [Reply; 3] {
        self.write(&format!("MAIL FROM:<from@test>\r\nRCPT TO:<{to}>\r\nDATA\r\n")).await;
        [self.reply().await, self.reply().await, self.reply().await]
    }

    /// Sends a small message and gives the last reply.
    pub async fn send(&mut self, to: &str) -> Reply {
        let [_, rcpt, data] = self.offer(to).await;
        if rcpt.code() != 250 || data.code() != 354 {
            return if rcpt.code() == 250 { data } else { rcpt };
        }
        self.say(&format!("Subject: hello\r\nMessage-ID: <{to}>\r\n\r\nbody\r\n.")).await
    }
}

/// A reply with all its lines, empty at the end of the stream.
#[derive(Debug)]
pub struct Reply(pub String);

impl Reply {
    /// The code; 0 for what is no reply.
    pub fn code(&self) -> u16 {
        self.0.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub const fn is_end(&self) -> bool {
        self.0.is_empty()
    }
}
