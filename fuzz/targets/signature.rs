//! Signatures of webhooks, ours and Stripe's, against HMAC computed here.
//!
//! The input is a secret, a header (or an id), and a body, with NUL between the first.
#![cfg_attr(fuzzing, no_main)]

use ampout::{
    billing::signature::verify,
    clock::Timestamp,
    crypto::{Secret, WebhookSecret},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const NOW: i64 = 1_795_000_000;

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).expect("four bits")).collect()
}

fn stripe(secret: &str, header: &str, body: &[u8]) {
    let now = Timestamp::from_seconds(NOW);
    let secrets = [secret.to_owned()];
    if verify(header, body, &secrets, now) {
        let signs = |part: &str| {
            let time = part.trim().strip_prefix("t=");
            time.is_some_and(|time| {
                header.contains(&hex(&mac(secret.as_bytes(), &[time.as_bytes(), b".", body])))
            })
        };
        assert!(header.split(',').any(signs), "{header:?}");
    }
    let away = i64::from(body.first().copied().unwrap_or_default()) * 4 - 512;
    let time = (NOW + away).to_string();
    let signed = mac(secret.as_bytes(), &[time.as_bytes(), b".", body]);
    let good = format!("t={time},v1={}", hex(&signed));
    assert_eq!(verify(&good, body, &secrets, now), away.abs() <= 300, "{away} s");
    let both = format!("t={time}, v1=00,v0={}, v1={}", hex(&signed), hex(&signed));
    assert_eq!(verify(&both, body, &secrets, now), away.abs() <= 300);
    // One changed bit of the body or of the signature is enough.
    let mut other = body.to_vec();
    other.push(b' ');
    assert!(!verify(&good, &other, &secrets, now));
    if let Some(last) = other.iter_mut().next_back() {
        *last ^= 1;
    }
    assert!(!verify(&good, &other, &secrets, now));
    let mut other = signed;
    let at = header.len() % other.len();
    other[at] ^= 1 << (header.len() % 8);
    assert!(!verify(&format!("t={time},v1={}", hex(&other)), body, &secrets, now));
    assert!(!verify(&good, body, &[format!("{secret}x")], now));
}

fn ours(text: &str, id: &str, body: &[u8]) {
    let Ok(secret) = WebhookSecret::parse(&Secret::new(text.to_owned())) else { return };
    assert_eq!(secret.to_text().expose(), text);
    let key = BASE64_STANDARD.decode(text.strip_prefix("whsec_").expect("the prefix")).expect("base64");
    assert_eq!(key.len(), 24);
    let expected = mac(&key, &[format!("{id}.{NOW}.").as_bytes(), body]);
    assert_eq!(secret.sign(id, NOW, body), format!("v1,{}", BASE64_STANDARD.encode(expected)));
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let [secret, header, body] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let (Ok(secret), Ok(header)) = (std::str::from_utf8(secret), std::str::from_utf8(header)) else { return };
    stripe(secret, header, body);
    ours(secret, header, body);
});
