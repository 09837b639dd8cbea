//! Sealing: what a database dump must not give away, bound to the place it is stored in.
//!
//! Layout of a sealed value: version (1 byte, 1) ‖ key id (4) ‖ nonce (24) ‖ ciphertext with its tag (16 more
//! than the plain bytes). The cipher is XChaCha20-Poly1305, whose nonce is long enough to be random.
//! The associated data is the header and the place, so that a value copied to another row does not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::master_key::{MasterKey, MasterKeys};
use super::{Secret, random_bytes};

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;

/// Where a sealed value is stored. Nobody else's row, and no other column, can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The account that owns the row; nil for rows of the installation itself.
    pub account: Uuid,
    /// The table's name.
    pub table: &'static str,
    /// The row's id.
    pub row: Uuid,
    /// The column's name.
    pub column: &'static str,
}

impl Place {
    /// A place in a row that belongs to no account.
    pub const fn of_installation(table: &'static str, row: Uuid, column: &'static str) -> Self {
        Self { account: Uuid::nil(), table, row, column }
    }

    /// Every part has a fixed length or its length before it, so that no two places read alike.
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(128);
        data.extend_from_slice(header);
        data.extend_from_slice(self.account.as_bytes());
        data.extend_from_slice(self.row.as_bytes());
        for name in [self.table, self.column] {
            data.extend_from_slice(&(name.len() as u64).to_be_bytes());
            data.extend_from_slice(name.as_bytes());
        }
        data
    }
}

/// Why a sealed value does not open. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than any sealed value, or of a layout that this version does not know.
    #[error("not a sealed value of a known layout")]
    Layout,
    /// None of the configured master keys has sealed it.
    #[error("sealed by a master key that is not configured")]
    UnknownKey,
    /// Changed, cut, or sealed for another place.
    #[error("sealed value does not belong here or was changed")]
    Forged,
    /// It opened, but is no UTF-8 text.
    #[error("sealed value is not text")]
    NotText,
}

/// Seals with the first master key and opens with all of them.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: MasterKeys,
}

impl Sealer {
    /// A sealer of these keys.
    pub const fn new(keys: MasterKeys) -> Self {
        Self { keys }
    }

    /// Seals bytes for one place, with a random nonce.
    pub fn seal(&self, place: &Place, plain: &[u8]) -> Vec<u8> {
        self.seal_with_nonce(place, plain, random_bytes())
    }

    fn seal_with_nonce(&self, place: &Place, plain: &[u8], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let key = self.keys.sealing();
        let mut sealed = Vec::with_capacity(plain.len().saturating_add(45));
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        let aad = place.associated_data(&sealed);
        #[expect(clippy::expect_used, reason = "fails only past 256 GiB, which no column holds")]
        let ciphertext = cipher(key)
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
            .expect("less than 256 GiB");
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Sealer::seal`] made for the same place.
    ///
    /// # Errors
    /// When it was made for another place, by an unknown key, or was changed on the way.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let Sealed { header, key_id, nonce, ciphertext } = Sealed::split(sealed)?;
        let aad = place.associated_data(header);
        let mut reason = OpenError::UnknownKey;
        for key in self.keys.with_id(key_id) {
            match cipher(key).decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad: &aad }) {
                Ok(plain) => return Ok(Zeroizing::new(plain)),
                Err(_) => reason = OpenError::Forged,
            }
        }
        Err(reason)
    }

    /// Opens a sealed text.
    ///
    /// # Errors
    /// As [`Sealer::open`], and when the bytes are not UTF-8.
    pub fn open_text(&self, place: &Place, sealed: &[u8]) -> Result<Secret, OpenError> {
        let plain = self.open(place, sealed)?;
        std::str::from_utf8(&plain).map(|text| Secret::new(text.to_owned())).map_err(|_| OpenError::NotText)
    }

    /// What every value begins with that is sealed now: the layout and the first key. A value that begins otherwise is to
    /// be sealed anew.
    pub const fn prefix(&self) -> [u8; 1 + KEY_ID_BYTES] {
        let [a, b, c, d] = self.keys.sealing().id;
        [VERSION, a, b, c, d]
    }
}

fn cipher(key: &MasterKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*key.bytes).into())
}

/// A sealed value taken apart.
struct Sealed<'a> {
    header: &'a [u8],
    key_id: [u8; KEY_ID_BYTES],
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn split(sealed: &'a [u8]) -> Result<Self, OpenError> {
        let (&version, rest) = sealed.split_first().ok_or(OpenError::Layout)?;
        let (&key_id, rest) = rest.split_first_chunk().ok_or(OpenError::Layout)?;
        let (&nonce, ciphertext) = rest.split_first_chunk().ok_or(OpenError::Layout)?;
        let header = sealed.split_at_checked(sealed.len().saturating_sub(ciphertext.len()));
        let (header, _) = header.ok_or(OpenError::Layout)?;
        if version == VERSION {
            Ok(Self { header, key_id, nonce, ciphertext })
        } else {
            Err(OpenError::Layout)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn sealer(keys: &[u8]) -> Sealer {
        let keys: Vec<String> = keys.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
        Sealer::new(MasterKeys::parse(&keys.join(",")).unwrap())
    }

    fn place() -> Place {
        Place {
            account: Uuid::from_u128(1),
            table: "smtp_credentials",
            row: Uuid::from_u128(2),
            column: "smtp_password",
        }
    }

    #[test]
    fn a_value_opens_only_at_its_own_place() {
        let sealer = sealer(&[1]);
        let stored = sealer.seal(&place(), b"hunter2");
        assert_eq!(sealer.open_text(&place(), &stored).unwrap().expose(), "hunter2");
        for elsewhere in [
            Place { account: Uuid::from_u128(9), ..place() },
            Place { row: Uuid::from_u128(9), ..place() },
            Place { table: "smtp_credential", ..place() },
            Place { table: "smtp_credentialss", column: "mtp_password", ..place() },
            Place { column: "imap_password", ..place() },
            Place::of_installation("smtp_credentials", Uuid::from_u128(2), "smtp_password"),
        ] {
            assert_eq!(sealer.open(&elsewhere, &stored), Err(OpenError::Forged), "{elsewhere:?}");
        }
    }

    #[test]
    fn keys_rotate_by_being_put_first() {
        let old = sealer(&[1]);
        let stored = old.seal(&place(), b"hunter2");
        let both = sealer(&[2, 1]);
        assert!(stored.starts_with(&old.prefix()));
        assert!(!stored.starts_with(&both.prefix()));
        assert_eq!(both.open(&place(), &stored).unwrap().as_slice(), b"hunter2");
        let resealed = both.seal(&place(), b"hunter2");
        assert!(resealed.starts_with(&both.prefix()));
        assert_eq!(sealer(&[2]).open(&place(), &stored), Err(OpenError::UnknownKey));
        assert_eq!(sealer(&[2]).open(&place(), &resealed).unwrap().as_slice(), b"hunter2");
    }

    #[test]
    fn the_same_value_is_never_sealed_alike() {
        let sealer = sealer(&[1]);
        assert_ne!(sealer.seal(&place(), b""), sealer.seal(&place(), b""));
    }

    #[test]
    fn the_layout_is_the_one_that_is_stored() {
        let stored = sealer(&[1]).seal_with_nonce(&place(), b"hunter2", [3; 24]);
        let mut expected = vec![VERSION];
        expected.extend_from_slice(&[0x1e, 0xfb, 0x90, 0xc5]);
        expected.extend_from_slice(&[3; 24]);
        let ciphertext = "26756105954de077a205935db237fc9adfdd749a13d742";
        for at in (0..ciphertext.len()).step_by(2) {
            expected.push(u8::from_str_radix(&ciphertext[at..at + 2], 16).unwrap());
        }
        assert_eq!(stored, expected);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plain in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sealer = sealer(&[1]);
            let stored = sealer.seal(&place(), &plain);
            let opened = sealer.open(&place(), &stored).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
        }

        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0_usize..52, flip in 1_u8..) {
            let sealer = sealer(&[1]);
            let mut stored = sealer.seal(&place(), b"hunter2");
            *stored.get_mut(at).unwrap() ^= flip;
            prop_assert!(sealer.open(&place(), &stored).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(junk in proptest::collection::vec(any::<u8>(), 0..80), version in any::<bool>()) {
            let sealer = sealer(&[1]);
            let mut junk = junk;
            if version && let Some(first) = junk.first_mut() { *first = VERSION; }
            prop_assert!(sealer.open(&place(), &junk).is_err());
        }
    }
}
