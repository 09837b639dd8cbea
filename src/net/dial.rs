//! The one way to a host that a tenant named: resolve, refuse, dial the address that was looked at, wrap in TLS.
//!
//! The errors are a closed list with fixed texts, so that a port scan learns nothing through them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::deny;
use super::host::Host;
use super::resolve::{Dns, DnsError, SystemDns};

/// How long a name may take to resolve, within the caller's deadline.
const RESOLVE: Duration = Duration::from_secs(10);
/// A name may have any number of addresses; so many are tried.
const MAX_TRIED: usize = 6;

/// A connection to a mail server, before or after TLS.
pub type MailStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialPolicy {
    /// Private and other special-purpose addresses may be dialled (development, closed networks).
    pub allow_private: bool,
    /// SMTP and IMAP may go on without TLS where the server offers none, and without AUTH likewise.
    pub allow_plain_mail: bool,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The host is no name and no address, or the DNS names no address for it.
    #[error("the host name could not be resolved")]
    Dns,
    /// The host is at internal addresses only.
    #[error("the host is at an internal address")]
    Internal,
    /// Nobody listens, or the network does not lead there.
    #[error("the connection failed")]
    Connect,
    /// The TLS handshake failed, or the certificate is not good for the host.
    #[error("the TLS handshake failed")]
    Tls,
    /// It took too long.
    #[error("the connection timed out")]
    Timeout,
}

/// The dialler cannot be built: the roots of trust or the resolver could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the network cannot be set up: {0}")]
pub struct SetupError(String);

/// Dials on behalf of tenants. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    policy: DialPolicy,
    dns: Arc<dyn Dns>,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// With the machine's resolver and roots of trust (those of `SSL_CERT_FILE` where it is set).
    ///
    /// # Errors
    /// When the resolver or TLS cannot be set up.
    pub fn new(policy: DialPolicy) -> Result<Self, SetupError> {
        let dns = SystemDns::new().map_err(|error| SetupError(error.to_string()))?;
        Self::with(policy, Arc::new(dns), &[])
    }

    /// With another resolver, and with roots beside the machine's own.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with(
        policy: DialPolicy,
        dns: Arc<dyn Dns>,
        extra_roots: &[CertificateDer<'static>],
    ) -> Result<Self, SetupError> {
        let tls = client_config(extra_roots)?;
        Ok(Self { policy, dns, tls: Arc::new(tls) })
    }

    /// What the operator allows.
    pub const fn policy(&self) -> DialPolicy {
        self.policy
    }

    /// The resolver that this dialler asks.
    pub fn dns(&self) -> Arc<dyn Dns> {
        Arc::clone(&self.dns)
    }

    /// The addresses at which a host may be dialled. Internal ones among them are left out.
    ///
    /// # Errors
    /// `Dns`, `Timeout`, or `Internal` when none is left.
    pub async fn vet(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let found = self.resolve(host).await?;
        let vetted: Vec<IpAddr> = found.into_iter().filter(|address| self.may_dial(*address)).collect();
        if vetted.is_empty() { Err(DialError::Internal) } else { Ok(vetted) }
    }

    /// Connects to the first vetted address that answers, all within one time span.
    ///
    /// # Errors
    /// Any but `Tls`.
    pub async fn connect(&self, host: &str, port: u16, within: Duration) -> Result<TcpStream, DialError> {
        let deadline = Instant::now() + within;
        let vetted = timeout_at(deadline, self.vet(host)).await.map_err(|_| DialError::Timeout)??;
        let mut left = vetted.len().min(MAX_TRIED);
        let mut last = DialError::Connect;
        for address in vetted.into_iter().take(MAX_TRIED) {
            let share = deadline.duration_since(Instant::now()) / u32::try_from(left.max(1)).unwrap_or(1);
            match timeout(share, self.connect_to(SocketAddr::new(address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = DialError::Timeout,
            }
            left -= 1;
        }
        Err(last)
    }

    /// Speaks TLS on a connection; the certificate must be good for `host`.
    ///
    /// # Errors
    /// `Tls` or `Timeout`.
    pub async fn wrap_tls(
        &self,
        host: &str,
        stream: TcpStream,
        within: Duration,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let name = match Host::parse(host).map_err(|_| DialError::Tls)? {
            Host::Address(address) => ServerName::IpAddress(address.into()),
            Host::Name(name) => ServerName::try_from(name).map_err(|_| DialError::Tls)?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let handshake = timeout(within, connector.connect(name, stream)).await;
        handshake.map_err(|_| DialError::Timeout)?.map_err(|_| DialError::Tls)
    }

    fn may_dial(&self, address: IpAddr) -> bool {
        self.policy.allow_private || deny::refusal(address).is_none()
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        match Host::parse(host).map_err(|_| DialError::Dns)? {
            Host::Address(address) => Ok(vec![address]),
            Host::Name(name) => {
                let answer = timeout(RESOLVE, self.dns.addresses(&name)).await;
                answer.map_err(|_| DialError::Timeout)?.map_err(|error| match error {
                    DnsError::NoSuchName | DnsError::NoRecords | DnsError::Failed => DialError::Dns,
                })
            }
        }
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<TcpStream, DialError> {
        let stream = TcpStream::connect(address).await.map_err(|_| DialError::Connect)?;
        if !self.policy.allow_private && leads_to_ourselves(&stream) {
            return Err(DialError::Internal);
        }
        stream.set_nodelay(true).map_err(|_| DialError::Connect)?;
        Ok(stream)
    }
}

/// A machine with a public address reaches its own services through it; the kernel then uses that address on
/// both ends.
fn leads_to_ourselves(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) => ours.ip() == theirs.ip(),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

fn client_config(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a root of trust could not be loaded");
    }
    roots.add_parsable_certificates(native.certs);
    for root in extra_roots {
        roots.add(root.clone()).map_err(|error| SetupError(error.to_string()))?;
    }
    if roots.is_empty() {
        tracing::warn!("no root of trust was found: no TLS connection will succeed");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rstest::rstest;
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::resolve::scripted::ScriptedDns;
    use super::*;

    fn dialer(allow_private: bool, dns: ScriptedDns) -> Dialer {
        let policy = DialPolicy { allow_private, allow_plain_mail: true };
        Dialer::with(policy, Arc::new(dns), &[]).unwrap()
    }

    #[rstest]
    #[case("127.0.0.1")]
    #[case("0x7f.1")]
    #[case("2130706433")]
    #[case("017700000001")]
    #[case("[::ffff:127.0.0.1]")]
    #[case("[::1]")]
    #[case("169.254.169.254")]
    #[case("inside.example")]
    #[tokio::test]
    async fn internal_hosts_are_refused_in_every_spelling(#[case] host: &str) {
        let dns =
            ScriptedDns::default().address("inside.example", &["10.0.0.1", "fd00::1", "::ffff:127.0.0.1"]);
        let dialer = dialer(false, dns);
        assert_eq!(dialer.vet(host).await, Err(DialError::Internal));
        let connected = dialer.connect(host, 25, Duration::from_secs(5)).await;
        assert_eq!(connected.map(|_| ()), Err(DialError::Internal));
    }

    #[tokio::test]
    async fn internal_addresses_beside_public_ones_are_left_out() {
        let dns = ScriptedDns::default().address("mixed.example", &["127.0.0.1", "8.8.8.8", "fe80::1"]);
        let vetted = dialer(false, dns).vet("MIXED.example.").await;
        assert_eq!(vetted, Ok(vec![IpAddr::from([8, 8, 8, 8])]));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_dns_error() {
        let dialer = dialer(true, ScriptedDns::default());
        assert_eq!(dialer.vet("nowhere.example").await, Err(DialError::Dns));
        assert_eq!(dialer.vet("no host").await, Err(DialError::Dns));
    }

    #[tokio::test]
    async fn the_address_that_was_looked_at_is_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dns = ScriptedDns::default().address("mail.example", &["127.0.0.1"]);
        let stream = dialer(true, dns).connect("mail.example", port, Duration::from_secs(5)).await;
        let peer = stream.unwrap().peer_addr().unwrap();
        assert_eq!(peer, listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dns = ScriptedDns::default().address("mail.example", &["127.0.0.3", "127.0.0.2"]);
        let stream = dialer(true, dns).connect("mail.example", port, Duration::from_secs(5)).await;
        assert!(stream.is_ok());
    }

    /// A listener that takes no more connections: whoever connects now waits.
    async fn full(address: &str) -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(stream);
        }
        (listener, waiting)
    }

    #[tokio::test]
    async fn an_address_that_stays_silent_leaves_time_for_the_next() {
        let (silent, _waiting) = full("127.0.0.3:0").await;
        let port = silent.local_addr().unwrap().port();
        let _listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let dns = ScriptedDns::default().address("mail.example", &["127.0.0.3", "127.0.0.2"]);
        let stream = dialer(true, dns).connect("mail.example", port, Duration::from_secs(2)).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap().to_string(), format!("127.0.0.2:{port}"));
    }

    #[tokio::test]
    async fn silent_addresses_are_given_all_the_time_there_is_and_no_more() {
        let (silent, _waiting) = full("127.0.0.3:0").await;
        let port = silent.local_addr().unwrap().port();
        let three = ["127.0.0.3"; 3];
        let dialer = dialer(true, ScriptedDns::default().address("mail.example", &three));
        let (started, within) = (Instant::now(), Duration::from_millis(1_200));
        let refused = dialer.connect("mail.example", port, within).await;
        assert_eq!(refused.map(|_| ()), Err(DialError::Timeout));
        assert!(started.elapsed() >= within, "each has its share of what is left");
        assert!(started.elapsed() < within * 3, "they share one time span");
    }

    #[tokio::test]
    async fn a_connection_from_an_address_to_itself_leads_to_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        assert!(leads_to_ourselves(&TcpStream::connect(target).await.unwrap()));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        assert!(!leads_to_ourselves(&socket.connect(target).await.unwrap()));
        let dialled = |allow_private| async move {
            dialer(allow_private, ScriptedDns::default()).connect_to(target).await.map(|_| ())
        };
        assert_eq!(dialled(false).await, Err(DialError::Internal));
        assert_eq!(dialled(true).await, Ok(()));
    }

    #[tokio::test]
    async fn a_closed_port_is_a_connect_error_and_garbage_a_tls_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = dialer(true, ScriptedDns::default());
        let within = Duration::from_secs(5);
        let stream = dialer.connect("127.0.0.1", port, within).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        accepted.try_write(b"220 no TLS here\r\n").unwrap();
        let wrapped = dialer.wrap_tls("127.0.0.1", stream, within).await;
        assert_eq!(wrapped.map(|_| ()).err(), Some(DialError::Tls));
        drop((listener, accepted));
        let refused = dialer.connect("127.0.0.1", port, within).await;
        assert_eq!(refused.map(|_| ()), Err(DialError::Connect));
    }
}
