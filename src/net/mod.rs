//! Who may be dialled, and how: every connection to a host that a tenant named goes through here.
//!
//! A name is resolved, every special-purpose address is refused, and the address that was looked at is the
//! one that is dialled, so that a name which changes its mind (DNS rebinding) gains nothing. Nothing here
//! reads a proxy from the environment or follows a redirect, and every wait has a deadline.

pub mod deny;
pub mod dial;
mod host;
mod http;
pub mod imap_probe;
mod lines;
pub mod mx;
pub mod resolve;
mod verify;

pub use dial::{DialError, DialPolicy, Dialer, MailStream};
pub use http::{Answer, HttpClient, HttpError};
pub(crate) use lines::{LineError, read_line};
pub use mx::{MxCheck, MxVerdict};
pub use verify::VerifyError;

/// Whether a text is the name or the address of a host, in any spelling. It need not exist.
pub fn is_host(text: &str) -> bool {
    host::Host::parse(text).is_ok()
}

/// What a host would be taken for, for the fuzzer: an address, a name (`Err`), or neither.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub fn read_host(text: &str) -> Option<Result<std::net::IpAddr, String>> {
    match host::Host::parse(text).ok()? {
        host::Host::Address(address) => Some(Ok(address)),
        host::Host::Name(name) => Some(Err(name)),
    }
}
