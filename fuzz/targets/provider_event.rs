//! The bodies that a mail provider and Stripe post: clean and bounded, and alike in JSON and as a form.
//!
//! The input is a body; read as names and values with NUL between them it is also given in both forms.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeMap;

use ampout::{
    billing::event,
    inbound::smtp2go::{Report, What, read},
};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn assert_clean(report: &Report) {
    for text in [&report.message_id, &report.provider_id, &report.recipient].into_iter().flatten() {
        assert!(text.len() <= 998 && !text.contains(char::is_control), "{text:?}");
    }
    assert!(report.recipient.as_ref().is_none_or(|address| address.contains('@')));
    if let What::Bounced(reason) = &report.what {
        assert!((1..=500).contains(&reason.len()) && !reason.contains(char::is_control), "{reason:?}");
    }
}

/// Names that differ by more than case and punctuation, and their values.
fn fields(data: &[u8]) -> Option<BTreeMap<String, &str>> {
    let mut parts = std::str::from_utf8(data).ok()?.split('\0');
    let mut fields = BTreeMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        fields.insert(plain.to_ascii_lowercase(), value);
    }
    Some(fields)
}

fuzz_target!(|data: &[u8]| {
    for content_type in [JSON, FORM] {
        if let Ok(Some(report)) = read(content_type, data) {
            assert_clean(&report);
        }
    }
    if let Some(event) = event::read(data) {
        assert!(!event.id.is_empty());
    }
    let Some(fields) = fields(data) else { return };
    let json = serde_json::to_vec(&fields).expect("strings");
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    assert_eq!(read(JSON, &json), read(FORM, form.as_bytes()));
});
