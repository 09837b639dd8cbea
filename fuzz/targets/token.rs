//! Signed links, sealed values and API keys: what we made is read back, anything else is refused.
//!
//! The input is where and how a byte is changed, and what is signed.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use ampout::crypto::{
    ApiKeyPlaintext, LinkKeys, MasterKeys, Place, Purpose, Sealer,
    links::{parse_open, parse_unsubscribe},
};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const PURPOSES: [Purpose; 3] = [Purpose::Unsubscribe, Purpose::Open, Purpose::InboundSmtp2go];
static KEYS: LazyLock<LinkKeys> = LazyLock::new(|| LinkKeys::new(&[1; 32], &[[2; 32]]));
static EARLIER: LazyLock<LinkKeys> = LazyLock::new(|| LinkKeys::new(&[2; 32], &[]));
static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    Sealer::new(MasterKeys::parse("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").expect("a key"))
});

fn assert_signed(payload: &[u8], at: usize, other: u8) {
    for purpose in PURPOSES {
        let token = KEYS.sign(purpose, payload);
        let good = (16..=96).contains(&payload.len());
        assert_eq!(KEYS.verify(purpose, &token), good.then(|| payload.to_vec()));
        assert_eq!(KEYS.verify(purpose, &EARLIER.sign(purpose, payload)), good.then(|| payload.to_vec()));
        assert_eq!(EARLIER.verify(purpose, &token), None);
        for elsewhere in PURPOSES.into_iter().filter(|it| *it != purpose) {
            assert_eq!(KEYS.verify(elsewhere, &token), None);
        }
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = other % 128;
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(changed == token || KEYS.verify(purpose, &changed).is_none(), "{changed}");
    }
}

fn assert_sealed(plain: &[u8], at: usize, other: u8) {
    let place = Place::of_installation("settings", Uuid::nil(), "value");
    let mut sealed = SEALER.seal(&place, plain);
    assert_eq!(SEALER.open(&place, &sealed).expect("our own").as_slice(), plain);
    let at = at % sealed.len();
    sealed[at] ^= other.max(1);
    assert!(SEALER.open(&place, &sealed).is_err());
    assert!(SEALER.open(&place, plain).is_err());
}

fuzz_target!(|data: &[u8]| {
    let Some((&[high, low, other], payload)) = data.split_first_chunk::<3>() else { return };
    let at = usize::from(u16::from_be_bytes([high, low]));
    assert_signed(payload, at, other);
    assert_sealed(payload, at, other);
    let Ok(text) = std::str::from_utf8(payload) else { return };
    // Nobody guesses 128 bits: a text that verifies is one that these keys signed.
    for purpose in PURPOSES {
        if let Some(payload) = KEYS.verify(purpose, text) {
            assert!(text == KEYS.sign(purpose, &payload) || text == EARLIER.sign(purpose, &payload));
        }
    }
    let _ = (parse_unsubscribe(&KEYS, text), parse_open(&KEYS, text));
    if let Some(key) = ApiKeyPlaintext::parse(text) {
        assert_eq!((key.expose(), key.prefix()), (text, &text[..12]));
    }
    drop(MasterKeys::parse(text));
});
