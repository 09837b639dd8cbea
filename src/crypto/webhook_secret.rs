//! Secrets of outbound webhooks, and the signature that they make (Standard Webhooks, version 1).
//!
//! The secret is shown to its owner once as `whsec_` and base64, and kept sealed in that form.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::Mac;
use zeroize::Zeroizing;

use super::{Secret, hmac_sha256, random_bytes};

/// Random bytes of a secret; the specification asks for 24 to 64.
const BYTES: usize = 24;
const PREFIX: &str = "whsec_";

/// The key that one webhook's deliveries are signed with.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<[u8; BYTES]>);

/// The text is no secret of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook secret")]
pub struct NotASecret;

impl WebhookSecret {
    /// A new random secret.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random_bytes()))
    }

    /// As its owner is shown it.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(*self.0)))
    }

    /// From the text that [`Self::to_text`] made.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &Secret) -> Result<Self, NotASecret> {
        let encoded = text.expose().strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| NotASecret)?);
        let bytes: [u8; BYTES] = bytes.as_slice().try_into().map_err(|_| NotASecret)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The value of `webhook-signature` for a body sent under this id at this time (seconds since the epoch).
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = hmac_sha256(&self.0);
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[webhook secret]")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_alike() {
        let secret = WebhookSecret::parse(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()));
        let signed =
            secret.unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_survives_its_text_and_shows_nothing() {
        let secret = WebhookSecret::generate();
        let text = secret.to_text();
        assert_eq!(text.expose().len(), PREFIX.len() + 32);
        assert_eq!(WebhookSecret::parse(&text).unwrap().sign("a", 1, b"b"), secret.sign("a", 1, b"b"));
        assert_eq!(format!("{secret:?}"), "[webhook secret]");
    }

    #[test]
    fn other_texts_are_no_secrets() {
        for text in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%%"] {
            assert_eq!(WebhookSecret::parse(&Secret::new(text.into())).err(), Some(NotASecret), "{text}");
        }
    }
}
