//! API keys: `ak_live_` and 32 random bytes in URL-safe base64 without padding.
//!
//! The plain key exists in the answer that hands it out and in the client's requests. Stored are its SHA-256
//! (32 random bytes need no salt and no slow hash) and its first characters, by which its owner knows it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::random_bytes;

const MARK: &str = "ak_live_";
const RANDOM_BYTES: usize = 32;
/// Characters of the key that are stored and shown.
const PREFIX_CHARS: usize = 12;

/// A whole API key, as a client sends it. Its `Debug` shows the prefix only.
pub struct ApiKeyPlaintext(Zeroizing<String>);

impl ApiKeyPlaintext {
    /// A new key.
    pub fn generate() -> Self {
        let random = Zeroizing::new(random_bytes::<RANDOM_BYTES>());
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()));
        Self(Zeroizing::new(format!("{MARK}{}", text.as_str())))
    }

    /// Takes what has the shape of a key, so that nothing else costs a look-up. None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(MARK)?;
        // A slice of exactly the right size: longer input is refused without being decoded.
        let mut decoded = Zeroizing::new([0_u8; RANDOM_BYTES]);
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, decoded.as_mut_slice()).ok()?;
        (length == RANDOM_BYTES).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// SHA-256 of the whole key: what is stored, and looked up.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The first 12 characters.
    pub fn prefix(&self) -> &str {
        self.0.get(..PREFIX_CHARS).unwrap_or(MARK)
    }

    /// The whole key, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKeyPlaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyPlaintext({}…)", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_has_the_promised_shape_and_is_read_back() {
        let key = ApiKeyPlaintext::generate();
        assert_eq!(key.expose().len(), 51);
        assert!(key.expose().starts_with(key.prefix()));
        assert_eq!(key.prefix().len(), 12);
        assert_eq!(ApiKeyPlaintext::parse(key.expose()).unwrap().digest(), key.digest());
        assert_ne!(ApiKeyPlaintext::generate().digest(), key.digest());
        assert_eq!(format!("{key:?}"), format!("ApiKeyPlaintext({}…)", key.prefix()));
    }

    #[test]
    fn other_shapes_are_no_keys() {
        let key = ApiKeyPlaintext::generate();
        let whole = key.expose();
        for text in [
            "",
            "ak_live_",
            &whole[1..],
            &whole[..50],
            &format!("{whole}A"),
            &format!("{whole}="),
            &whole.replace("live", "test"),
        ] {
            assert!(ApiKeyPlaintext::parse(text).is_none(), "{text}");
        }
        assert!(ApiKeyPlaintext::parse(&format!("ak_live_{}", "A".repeat(10_000))).is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(ak_live_)?\\PC{0,60}") {
            if let Some(key) = ApiKeyPlaintext::parse(&text) {
                prop_assert_eq!(key.expose(), &text);
            }
        }
    }
}
