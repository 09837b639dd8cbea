//! Serving as axum serves, with an end to waits for peers: one that never ends its head keeps neither its connection nor a
//! stop, and one that never takes its answer keeps no stop.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::ServiceExt;

/// How long a connection may be idle, or a head on its way: a little longer than proxies keep connections to use again.
pub const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// How long accepting rests when the process has no descriptor left.
const NO_DESCRIPTOR: Duration = Duration::from_secs(1);

/// How long is waited for peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For the head of a request, from the end of the one before.
    pub head: Duration,
    /// For what was begun before a stop.
    pub drain: Duration,
}

/// Serves until `stop` is over, and then lets what was begun come to its end.
pub async fn serve(listener: TcpListener, app: Router, waits: Waits, stop: impl Future<Output = ()>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(waits.head);
    let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
        };
        let app = app.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let app = app.clone();
            async move { Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), answer));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%peer, %error, "a connection broke off");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(waits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end in time are closed");
    }
}

/// The next connection. What breaks off before it is taken is nobody's error.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_peers(error.kind()) => {}
            Err(error) => {
                tracing::error!(%error, "no connection is accepted for a moment");
                tokio::time::sleep(NO_DESCRIPTOR).await;
            }
        }
    }
}

const fn is_the_peers(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
        time::timeout,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(600);

    struct Serving {
        address: SocketAddr,
        stop: Arc<Notify>,
        /// Lets `/slow` answer.
        go: Arc<Notify>,
        /// `/slow` was asked for.
        asked: Arc<Notify>,
        all: JoinSet<()>,
    }

    async fn serving(waits: Waits) -> Serving {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [stop, go, asked] = [(); 3].map(|()| Arc::new(Notify::new()));
        let whose = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.port().to_string() };
        let slow = {
            let (go, asked) = (Arc::clone(&go), Arc::clone(&asked));
            || async move {
                asked.notify_one();
                go.notified().await;
                "slow"
            }
        };
        let app = Router::new().route("/", get(whose)).route("/slow", get(slow));
        let mut all = JoinSet::new();
        let stopped = Arc::clone(&stop);
        all.spawn(async move { serve(listener, app, waits, async move { stopped.notified().await }).await });
        Serving { address, stop, go, asked, all }
    }

    /// Sends a text and reads until the answer holds `end`, or, where that is empty, until the server hangs up.
    async fn ask(stream: &mut TcpStream, text: &str, end: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let read = async {
            let mut piece = [0; 1024];
            loop {
                let count = stream.read(&mut piece).await.unwrap();
                said.extend_from_slice(piece.get(..count).unwrap());
                if count == 0 || (!end.is_empty() && String::from_utf8_lossy(&said).contains(end)) {
                    return;
                }
            }
        };
        timeout(DEADLINE, read).await.unwrap();
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_knows_its_peer() {
        let server = serving(Waits { head: LONG, drain: LONG }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let port = stream.local_addr().unwrap().port().to_string();
        for _ in 0..3 {
            let said =
                ask(&mut stream, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", &format!("\r\n\r\n{port}")).await;
            assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
        }
    }

    #[tokio::test]
    async fn half_a_head_keeps_no_connection() {
        let server = serving(Waits { head: Duration::from_millis(50), drain: LONG }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        ask(&mut stream, "GET / HTTP/1.1\r\nhost", "").await;
    }

    #[tokio::test]
    async fn what_was_begun_before_a_stop_is_answered() {
        let mut server = serving(Waits { head: LONG, drain: LONG }).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        ask(&mut idle, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "\r\n\r\n").await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        timeout(DEADLINE, server.asked.notified()).await.unwrap();
        server.stop.notify_one();
        // The connection that was idle goes at once, the other with its answer.
        ask(&mut idle, "", "").await;
        server.go.notify_one();
        assert!(ask(&mut stream, "", "").await.ends_with("slow"));
        timeout(DEADLINE, server.all.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_never_ends_keeps_no_stop() {
        let mut server = serving(Waits { head: LONG, drain: Duration::from_millis(50) }).await;
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        timeout(DEADLINE, server.asked.notified()).await.unwrap();
        server.stop.notify_one();
        timeout(DEADLINE, server.all.join_next()).await.unwrap().unwrap().unwrap();
    }
}
