//! The keyed hash by which an address that unsubscribed is recognised after the contact is gone.
//!
//! Without the key, which is sealed, nobody can try addresses against stored hashes. The hash is made per
//! account: equal addresses in two accounts do not look alike.

use std::fmt;

use hmac::Mac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::hmac_sha256;

/// The installation's suppression key. It never changes: a new key would forget every unsubscription.
#[derive(Clone)]
pub struct SuppressionKey(Zeroizing<[u8; 32]>);

impl SuppressionKey {
    /// From 32 secret random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// HMAC-SHA256 of the account's id and the address in lower case.
    pub fn hash(&self, account: Uuid, email: &str) -> [u8; 32] {
        hmac_sha256(&self.0)
            .chain_update(account.as_bytes())
            .chain_update(email.to_lowercase().as_bytes())
            .finalize()
            .into_bytes()
            .into()
    }
}

impl fmt::Debug for SuppressionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuppressionKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter_but_account_and_key_do() {
        let key = SuppressionKey::new([1; 32]);
        let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let hash = key.hash(ours, "Jo@Example.com");
        assert_eq!(hash, key.hash(ours, "jo@example.com"));
        assert_ne!(hash, key.hash(theirs, "jo@example.com"));
        assert_ne!(hash, key.hash(ours, "jo@example.org"));
        assert_ne!(hash, SuppressionKey::new([2; 32]).hash(ours, "jo@example.com"));
        assert_eq!(format!("{key:?}"), "SuppressionKey", "nothing of the key");
    }
}
