//! What a refusal by a mail server is about: the credential as it was when a lane read it. Corrected meanwhile, it is
//! another, of which the refusal says nothing.

use sha2::{Digest as _, Sha256};

use super::Model;

/// A digest of what a server may refuse a sender for: where and as whom it signs in, and the address that it writes from.
/// A sealed password is sealed anew at each change, so that the same one given again counts as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried([u8; 32]);

impl Tried {
    /// Of what was read.
    pub fn of(host: &str, port: i32, username: &str, sealed_password: &[u8], from_email: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(port.to_be_bytes());
        for part in [host.as_bytes(), username.as_bytes(), sealed_password, from_email.as_bytes()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    /// What would be tried by this credential.
    pub fn by(credential: &Model) -> Self {
        let Model { smtp_host, smtp_port, smtp_username, smtp_password, from_email, .. } = credential;
        Self::of(smtp_host, *smtp_port, smtp_username, smtp_password, from_email)
    }

    /// Whether the credential is still what was tried.
    pub fn is(self, now: &Model) -> bool {
        self == Self::by(now)
    }
}
