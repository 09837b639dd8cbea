//! Whether Stripe signed a body: a pure decision. <https://docs.stripe.com/webhooks#verify-manually>
//!
//! The library that reads Stripe's events verifies them too, but only together with parsing all of an event, which
//! fails on one field of another API version.

use std::{fmt::Write, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;

/// How old a signature may be, or how far ahead of our clock.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Whether the header signs these very bytes by one of the secrets, lately.
pub fn verify(header: &str, body: &[u8], secrets: &[String], now: Timestamp) -> bool {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let time = parts().find(|(name, _)| *name == "t").map(|(_, value)| value);
    let Some(signed_at) = time.and_then(|time| time.parse::<i64>().ok()).map(Timestamp::from_seconds) else {
        return false;
    };
    if now.since(signed_at).max(signed_at.since(now)) > TOLERANCE {
        return false;
    }
    let signed = |secret: &String| {
        let Some(expected) = sign(secret, time.unwrap_or_default(), body) else { return false };
        parts().any(|(name, value)| name == "v1" && bool::from(value.as_bytes().ct_eq(expected.as_bytes())))
    };
    secrets.iter().any(signed)
}

/// The signature in hexadecimal.
fn sign(secret: &str, time: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stripe_webhook::Webhook;

    use super::*;

    const NOW: i64 = 1_795_000_000;
    const BODY: &str = "{\"id\": \"evt_1\"}";

    fn verified(header: &str, body: &str, secrets: &[&str]) -> bool {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        verify(header, body.as_bytes(), &secrets, Timestamp::from_seconds(NOW))
    }

    fn signed(secret: &str, at: i64) -> String {
        Webhook::generate_test_header(BODY, secret, Some(at))
    }

    #[test]
    fn what_the_library_signs_is_accepted_by_any_of_the_secrets() {
        assert!(verified(&signed("whsec_a", NOW), BODY, &["whsec_a"]));
        assert!(verified(&signed("whsec_b", NOW), BODY, &["whsec_a", "whsec_b"]));
        // While secrets are exchanged Stripe signs with both.
        let both = format!("{},v1={},v0=00", signed("whsec_old", NOW), &signed("whsec_a", NOW)[16..]);
        assert!(verified(&both.replace("v1=v1=", "v1="), BODY, &["whsec_a"]));
    }

    #[test]
    fn the_tolerance_is_five_minutes_either_way() {
        for (away, good) in [(300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(verified(&signed("whsec_a", NOW + away), BODY, &["whsec_a"]), good, "{away}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let good = signed("whsec_a", NOW);
        assert!(!verified(&good, BODY, &[]));
        assert!(!verified(&good, BODY, &["whsec_b"]));
        assert!(!verified(&good, "{\"id\": \"evt_2\"}", &["whsec_a"]));
        assert!(!verified(&good, &format!("{BODY} "), &["whsec_a"]));
        let (time, signature) = good.split_once(",v1=").unwrap_or_default();
        for header in [
            String::new(),
            "nonsense".to_owned(),
            time.to_owned(),
            format!("v1={signature}"),
            format!("{time},v0={signature}"),
            format!("{time},v1="),
            format!("{time}.0,v1={signature}"),
            format!("t={},v1={signature}", NOW + 1),
            format!("{time},v1={}", signature.get(1..).unwrap_or_default()),
        ] {
            assert!(!verified(&header, BODY, &["whsec_a"]), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "\\PC*", body in "\\PC*") {
            prop_assert!(!verified(&header, &body, &["whsec_a"]));
        }
    }
}
