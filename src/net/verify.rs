//! The words in which a check of mail credentials tells what failed. Never what the remote said.

use super::dial::DialError;

/// Why a mail server could not be used, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The host's name has no address, or the DNS did not answer.
    #[error("dns_failed")]
    DnsFailed,
    /// No connection, or the address may not be dialled.
    #[error("connect_failed")]
    ConnectFailed,
    /// The server offers no TLS, or its certificate is not good for the host.
    #[error("tls_failed")]
    TlsFailed,
    /// The server refused the user name and password, or offers no way to give them.
    #[error("auth_failed")]
    AuthFailed,
    /// The server did not speak the protocol, or broke off.
    #[error("protocol_failed")]
    ProtocolFailed,
    /// The server was too slow.
    #[error("timeout")]
    Timeout,
}

impl VerifyError {
    /// The word as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsFailed => "dns_failed",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::AuthFailed => "auth_failed",
            Self::ProtocolFailed => "protocol_failed",
            Self::Timeout => "timeout",
        }
    }
}

impl From<DialError> for VerifyError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Dns => Self::DnsFailed,
            DialError::Internal | DialError::Connect => Self::ConnectFailed,
            DialError::Tls => Self::TlsFailed,
            DialError::Timeout => Self::Timeout,
        }
    }
}
