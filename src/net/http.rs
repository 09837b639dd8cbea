//! The HTTP client for addresses that tenants named (webhooks).
//!
//! Its connections are made by the [`Dialer`], so that every dial is vetted at the address that is dialled, whichever
//! way the host is spelled and however often a name changes its mind. It follows no redirect and reads no proxy from the
//! environment. An answer costs bounded time and memory: its head is cut at 16 KiB and 100 headers, of its body
//! 16 KiB are read and thrown away so that the connection can be used again.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    body::Incoming,
    header::RETRY_AFTER,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::either::Either;
use tower::Service;

use super::dial::{DialError, Dialer, MailStream};

/// The longest head of an answer, and as much of its body is read.
const ANSWER_BYTES: usize = 16 * 1024;
/// What is left of the body is not waited for longer than this: the answer is known by then.
const BODY_WITHIN: Duration = Duration::from_secs(2);
/// An unused connection is closed after this.
const IDLE: Duration = Duration::from_secs(20);
/// Unused connections that are kept for one host and port.
const IDLE_PER_HOST: usize = 5;
/// The longest `Retry-After` that is looked at.
const RETRY_AFTER_CHARS: usize = 64;

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Retry-After` as it came.
    pub retry_after: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// There was no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The other side closed the connection, or does not speak HTTP as we bound it.
    #[error("the answer was no HTTP answer within the bounds")]
    Protocol,
    /// It took too long.
    #[error("the answer did not come in time")]
    Timeout,
    /// The address or a header cannot be sent.
    #[error("the request cannot be sent")]
    Request,
}

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
}

impl HttpClient {
    /// A client whose connections this dialler makes.
    pub fn new(dialer: Dialer) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_buf_size(ANSWER_BYTES)
            .build(Connector { dialer });
        Self { client }
    }

    /// Posts a body; answers as soon as the status is known.
    ///
    /// # Errors
    /// When no status came within the time.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body)), within).await
    }

    /// Asks whether an address answers, and how.
    ///
    /// # Errors
    /// When no status came within the time.
    pub async fn get(&self, url: &str, within: Duration) -> Result<Answer, HttpError> {
        self.send(Request::get(url).body(Full::default()), within).await
    }

    async fn send(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let deadline = Instant::now() + within;
        let request = request.map_err(|_| HttpError::Request)?;
        let sent = timeout_at(deadline, self.client.request(request)).await;
        let response = sent.map_err(|_| HttpError::Timeout)?.map_err(|error| reason(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.filter(|it| it.len() <= RETRY_AFTER_CHARS).map(str::to_owned),
        };
        let left = deadline.saturating_duration_since(Instant::now()).min(BODY_WITHIN);
        // Dropped unread, the rest costs the connection and nothing else.
        if timeout(left, drain(response.into_body())).await.is_err() {
            tracing::debug!("the rest of an answer was not waited for");
        }
        Ok(answer)
    }
}

/// Reads the body to its end, or until it is more than anybody needs.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES {
            return;
        }
    }
}

/// The dialler's own reason, where it is the dialler's.
fn reason(error: &hyper_util::client::legacy::Error) -> HttpError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return HttpError::Dial(*dial);
        }
        cause = error.source();
    }
    HttpError::Protocol
}

/// Makes connections through the dialler, and knows no other way.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
}

impl Service<Uri> for Connector {
    type Response = HttpStream;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<HttpStream, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.dialer.clone();
        async move {
            let host = uri.host().ok_or(DialError::Dns)?;
            let secure = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            // The caller's own deadline is shorter than these two together.
            let within = Duration::from_secs(15);
            let stream = dialer.connect(host, port, within).await?;
            let stream = if secure {
                Either::Right(Box::new(dialer.wrap_tls(host, stream, within).await?))
            } else {
                Either::Left(stream)
            };
            Ok(HttpStream(TokioIo::new(stream)))
        }
        .boxed()
    }
}

/// A connection as hyper wants it.
struct HttpStream(TokioIo<MailStream>);

impl Connection for HttpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
