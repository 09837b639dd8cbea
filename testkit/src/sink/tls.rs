//! Certificates for the sink: a certificate authority made for one sink, or files given by the caller.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// How a client gets to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// By STARTTLS (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314), as on port 465.
    Implicit,
}

/// A server's certificate and key, with the authority to trust for it.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ca_pem: Option<String>,
}

impl Identity {
    /// A new authority and a certificate of it for `names` (host names or addresses).
    ///
    /// # Errors
    /// `InvalidInput` when a name cannot be in a certificate.
    pub fn generate(names: &[String]) -> io::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "testkit sink authority");
        let authority_key = KeyPair::generate().map_err(invalid)?;
        let authority = CertifiedIssuer::self_signed(authority, authority_key).map_err(invalid)?;
        let key = KeyPair::generate().map_err(invalid)?;
        let server = CertificateParams::new(names).map_err(invalid)?;
        let server = server.signed_by(&key, &authority).map_err(invalid)?;
        Ok(Self {
            chain: vec![server.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            ca_pem: Some(authority.pem()),
        })
    }

    /// Reads a certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// `InvalidInput` when a file cannot be read or holds no such thing.
    pub fn from_files(chain: &Path, key: &Path) -> io::Result<Self> {
        let certificates = CertificateDer::pem_file_iter(chain).map_err(invalid)?;
        let chain = certificates.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        Ok(Self { chain, key: PrivateKeyDer::from_pem_file(key).map_err(invalid)?, ca_pem: None })
    }

    /// The authority's certificate in PEM; none for files.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// What takes TLS connections as this server.
    ///
    /// # Errors
    /// `InvalidInput` when the key is not the certificate's.
    pub fn acceptor(self) -> io::Result<TlsAcceptor> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)
            .map_err(invalid)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
