//! Tokens in links: unsubscribe pages, open pixels, the address of an inbound webhook.
//!
//! A token is the ids it speaks of and a MAC over them, in URL-safe base64. It holds no address, does not expire,
//! and is bound to one purpose, so that a pixel's token unsubscribes nobody. What the ids mean is its user's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hmac_sha256;

/// Bytes of the MAC that are kept: 128 bits, as RFC 2104 section 5 allows, keep the links short.
const TAG_BYTES: usize = 16;
/// Least and greatest length of what a token carries.
const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 16..=96;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Opening the unsubscribe page and unsubscribing.
    Unsubscribe,
    /// The pixel that tells of an open.
    Open,
    /// Delivering SMTP2GO's events to one account.
    InboundSmtp2go,
}

impl Purpose {
    const fn context(self) -> &'static [u8] {
        match self {
            Self::Unsubscribe => b"ampout link unsubscribe",
            Self::Open => b"ampout link open",
            Self::InboundSmtp2go => b"ampout inbound smtp2go",
        }
    }
}

/// The keys of one link key, one for each purpose, with the padding already hashed in.
#[derive(Clone)]
struct PurposeKeys {
    unsubscribe: Hmac<Sha256>,
    open: Hmac<Sha256>,
    inbound_smtp2go: Hmac<Sha256>,
}

impl PurposeKeys {
    fn derive(link_key: &[u8; 32]) -> Self {
        let derive = |purpose: Purpose| derive_key(link_key, purpose);
        Self {
            unsubscribe: derive(Purpose::Unsubscribe),
            open: derive(Purpose::Open),
            inbound_smtp2go: derive(Purpose::InboundSmtp2go),
        }
    }

    fn tag(&self, purpose: Purpose, payload: &[u8]) -> [u8; TAG_BYTES] {
        let key = match purpose {
            Purpose::Unsubscribe => &self.unsubscribe,
            Purpose::Open => &self.open,
            Purpose::InboundSmtp2go => &self.inbound_smtp2go,
        };
        let mac: [u8; 32] = key.clone().chain_update(payload).finalize().into_bytes().into();
        let mut tag = [0; TAG_BYTES];
        for (kept, byte) in tag.iter_mut().zip(mac) {
            *kept = byte;
        }
        tag
    }
}

/// HKDF-SHA256 (RFC 5869): one link key gives each purpose a key of its own.
fn derive_key(link_key: &[u8; 32], purpose: Purpose) -> Hmac<Sha256> {
    let mut key = Zeroizing::new([0_u8; 32]);
    #[expect(clippy::expect_used, reason = "HKDF fails only past 255 blocks; this is one")]
    Hkdf::<Sha256>::new(None, link_key)
        .expand(purpose.context(), key.as_mut_slice())
        .expect("32 bytes are one block");
    hmac_sha256(&key)
}

/// Signs and verifies tokens. The first key signs, every key verifies, so that old links keep working.
#[derive(Clone)]
pub struct LinkKeys {
    signing: PurposeKeys,
    others: Vec<PurposeKeys>,
}

impl LinkKeys {
    /// From the key that signs and those that signed before.
    pub fn new(signing: &[u8; 32], others: &[[u8; 32]]) -> Self {
        Self {
            signing: PurposeKeys::derive(signing),
            others: others.iter().map(PurposeKeys::derive).collect(),
        }
    }

    /// A token for these ids: 16 to 96 bytes, such as one or several UUIDs. It may be put into a URL as it is.
    ///
    /// Other lengths give a token that never verifies.
    pub fn sign(&self, purpose: Purpose, payload: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(payload.len().saturating_add(TAG_BYTES));
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(&self.signing.tag(purpose, payload));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The ids of a token that one of these keys signed for this purpose. None for anything else.
    pub fn verify(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        // On the stack and of the greatest length: a longer token is refused without being decoded.
        let mut buffer = [0_u8; *PAYLOAD_BYTES.end() + TAG_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut buffer).ok()?;
        let (payload, tag) = buffer.get(..length)?.split_last_chunk::<TAG_BYTES>()?;
        let known = std::iter::once(&self.signing)
            .chain(&self.others)
            .any(|keys| bool::from(keys.tag(purpose, payload).ct_eq(tag)));
        (known && PAYLOAD_BYTES.contains(&payload.len())).then(|| payload.to_vec())
    }
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkKeys({})", self.others.len().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PURPOSES: [Purpose; 3] = [Purpose::Unsubscribe, Purpose::Open, Purpose::InboundSmtp2go];

    fn keys(signing: u8, others: &[u8]) -> LinkKeys {
        let others: Vec<[u8; 32]> = others.iter().map(|byte| [*byte; 32]).collect();
        LinkKeys::new(&[signing; 32], &others)
    }

    #[test]
    fn a_token_is_good_for_its_purpose_only() {
        let keys = keys(1, &[]);
        for signed_for in PURPOSES {
            let token = keys.sign(signed_for, &[7; 16]);
            assert_eq!(token.len(), 43);
            for used_for in PURPOSES {
                let expected = (used_for == signed_for).then(|| vec![7; 16]);
                assert_eq!(keys.verify(used_for, &token), expected, "{signed_for:?} {used_for:?}");
            }
        }
    }

    #[test]
    fn links_of_earlier_keys_keep_working() {
        let token = keys(1, &[]).sign(Purpose::Unsubscribe, &[7; 32]);
        assert_eq!(keys(2, &[3, 1]).verify(Purpose::Unsubscribe, &token), Some(vec![7; 32]));
        assert_eq!(keys(2, &[3]).verify(Purpose::Unsubscribe, &token), None);
        assert_eq!(format!("{:?}", keys(2, &[3])), "LinkKeys(2)", "how many there are, never which");
    }

    /// Links in mails already sent must verify for years: this token was signed by the first release.
    #[test]
    fn the_format_stays_what_it_is() {
        let first_release = "BwcHBwcHBwcHBwcHBwcHBzlst4luSNebBF7zhmNAyA8";
        assert_eq!(keys(1, &[]).sign(Purpose::Unsubscribe, &[7; 16]), first_release);
    }

    #[test]
    fn too_short_and_too_long_payloads_never_verify() {
        let keys = keys(1, &[]);
        for length in [0, 15, 97, 4_000] {
            let token = keys.sign(Purpose::Open, &vec![7; length]);
            assert_eq!(keys.verify(Purpose::Open, &token), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies(payload in proptest::collection::vec(any::<u8>(), 16..=96)) {
            let keys = keys(1, &[]);
            let token = keys.sign(Purpose::Open, &payload);
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            prop_assert_eq!(keys.verify(Purpose::Open, &token), Some(payload));
        }

        #[test]
        fn a_changed_character_never_verifies(at in 0_usize..43, other in "[A-Za-z0-9_-]") {
            let keys = keys(1, &[]);
            let mut token = keys.sign(Purpose::Open, &[7; 16]);
            let before = token.clone();
            token.replace_range(at..=at, &other);
            prop_assume!(token != before);
            prop_assert_eq!(keys.verify(Purpose::Open, &token), None);
        }

        #[test]
        fn no_text_makes_it_panic(token in "\\PC{0,200}") {
            prop_assert_eq!(keys(1, &[]).verify(Purpose::Open, &token), None);
        }
    }
}
