//! The links that every message carries: its unsubscribe page and its open pixel.
//!
//! Pure: signing and parsing only. A token names ids and a keyed hash, never an address, and the unsubscribe token
//! has all that is needed to honour it when the campaign, the contact and the import are long gone.

use uuid::Uuid;

use super::{LinkKeys, Purpose};

const ID_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What an unsubscribe link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeLink {
    /// Whose message it was.
    pub account_id: Uuid,
    /// The keyed hash of the address that it was sent to.
    pub suppression_hash: [u8; HASH_BYTES],
    /// The enrollment that it belonged to.
    pub enrollment_id: Uuid,
}

/// What a pixel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLink {
    /// Whose message it was.
    pub account_id: Uuid,
    /// The enrollment that it belonged to.
    pub enrollment_id: Uuid,
}

/// The address of the unsubscribe page, for the footer and for `List-Unsubscribe` (RFC 8058). `public_url` has no
/// slash at its end.
pub fn unsubscribe_url(
    public_url: &str,
    keys: &LinkKeys,
    account_id: Uuid,
    suppression_hash: &[u8; HASH_BYTES],
    enrollment_id: Uuid,
) -> String {
    let mut payload = [0_u8; 2 * ID_BYTES + HASH_BYTES];
    let parts = account_id.as_bytes().iter().chain(suppression_hash).chain(enrollment_id.as_bytes());
    payload.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    format!("{public_url}/u/{}", keys.sign(Purpose::Unsubscribe, &payload))
}

/// The address of the open pixel. `public_url` has no slash at its end.
pub fn open_url(public_url: &str, keys: &LinkKeys, account_id: Uuid, enrollment_id: Uuid) -> String {
    let mut payload = [0_u8; 2 * ID_BYTES];
    let parts = account_id.as_bytes().iter().chain(enrollment_id.as_bytes());
    payload.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    format!("{public_url}/o/{}.gif", keys.sign(Purpose::Open, &payload))
}

/// Reads the token of an unsubscribe link; None unless this installation signed it for that purpose.
pub fn parse_unsubscribe(keys: &LinkKeys, token: &str) -> Option<UnsubscribeLink> {
    let payload = keys.verify(Purpose::Unsubscribe, token)?;
    let (account_id, rest) = payload.split_first_chunk::<ID_BYTES>()?;
    let (suppression_hash, enrollment_id) = rest.split_first_chunk::<HASH_BYTES>()?;
    Some(UnsubscribeLink {
        account_id: Uuid::from_bytes(*account_id),
        suppression_hash: *suppression_hash,
        enrollment_id: Uuid::from_slice(enrollment_id).ok()?,
    })
}

/// Reads the last segment of a pixel's path, `<token>.gif`; None unless this installation signed it for that purpose.
pub fn parse_open(keys: &LinkKeys, file: &str) -> Option<OpenLink> {
    let payload = keys.verify(Purpose::Open, file.strip_suffix(".gif")?)?;
    let (account_id, enrollment_id) = payload.split_first_chunk::<ID_BYTES>()?;
    Some(OpenLink {
        account_id: Uuid::from_bytes(*account_id),
        enrollment_id: Uuid::from_slice(enrollment_id).ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const ACCOUNT: Uuid = Uuid::from_u128(1);
    const ENROLLMENT: Uuid = Uuid::from_u128(2);

    fn keys() -> LinkKeys {
        LinkKeys::new(&[1; 32], &[])
    }

    #[test]
    fn an_unsubscribe_link_reads_back_as_it_was_written() {
        let url = unsubscribe_url("https://a.example", &keys(), ACCOUNT, &[7; 32], ENROLLMENT);
        let token = url.strip_prefix("https://a.example/u/").unwrap();
        let link =
            UnsubscribeLink { account_id: ACCOUNT, suppression_hash: [7; 32], enrollment_id: ENROLLMENT };
        assert_eq!(parse_unsubscribe(&keys(), token), Some(link));
        assert!(url.len() < 998, "a header line holds it");
    }

    #[test]
    fn a_pixel_reads_back_as_it_was_written() {
        let url = open_url("https://a.example", &keys(), ACCOUNT, ENROLLMENT);
        let file = url.strip_prefix("https://a.example/o/").unwrap();
        assert_eq!(
            parse_open(&keys(), file),
            Some(OpenLink { account_id: ACCOUNT, enrollment_id: ENROLLMENT })
        );
        assert_eq!(parse_open(&keys(), file.trim_end_matches(".gif")), None);
    }

    #[test]
    fn a_token_of_another_kind_or_size_is_none() {
        let unsubscribe = unsubscribe_url("", &keys(), ACCOUNT, &[7; 32], ENROLLMENT);
        let open = open_url("", &keys(), ACCOUNT, ENROLLMENT);
        assert_eq!(parse_open(&keys(), &unsubscribe.replace("/u/", "")), None);
        assert_eq!(parse_unsubscribe(&keys(), &open.replace("/o/", "").replace(".gif", "")), None);
        for bytes in [16, 17, 33, 63, 65, 96] {
            let payload = vec![1; bytes];
            assert_eq!(
                parse_unsubscribe(&keys(), &keys().sign(Purpose::Unsubscribe, &payload)),
                None,
                "{bytes}"
            );
            let file = format!("{}.gif", keys().sign(Purpose::Open, &payload));
            assert_eq!(parse_open(&keys(), &file), None, "{bytes}");
        }
    }
}
