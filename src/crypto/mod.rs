//! Keys, sealed values and signed tokens.
//!
//! What must be read back (SMTP passwords, webhook secrets) is sealed, what must only be recognised
//! (API keys, suppressed addresses) is hashed, what travels through a recipient's mail is signed.
//! Nothing here touches the database or decides who may see what.

pub mod api_key;
pub mod link_token;
pub mod links;
pub mod master_key;
pub mod seal;
pub mod secret;
pub mod suppression_hash;
pub mod webhook_secret;

pub use api_key::ApiKeyPlaintext;
pub use link_token::{LinkKeys, Purpose};
pub use master_key::{MasterKeyError, MasterKeys};
pub use seal::{OpenError, Place, Sealer};
pub use secret::Secret;
pub use suppression_hash::SuppressionKey;
pub use webhook_secret::WebhookSecret;

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// Fresh bytes from the thread's cryptographic generator, which the operating system seeds.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::Rng::random(&mut rand::rng())
}

/// HMAC-SHA256 under a key no longer than a block, padded to it by zeros as RFC 2104 defines it.
fn hmac_sha256<const N: usize>(key: &[u8; N]) -> Hmac<Sha256> {
    const { assert!(N <= 64) };
    let mut block = [0_u8; 64];
    for (padded, byte) in block.iter_mut().zip(key) {
        *padded = *byte;
    }
    Hmac::new(&block.into())
}
