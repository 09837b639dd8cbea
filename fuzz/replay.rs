//! What the fuzz targets hold, held by the tests for every seed: so each target compiles with the code that it calls, and
//! what once broke something is not forgotten. Compiled into the unit tests, where a target is a function.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, fs, panic::catch_unwind, path::Path};

/// In place of libfuzzer's: the target as a function of its input.
macro_rules! fuzz_target {
    ($(init: $init:expr,)? |$data:ident: &$kind:ty| $body:block) => {
        pub(super) fn check(data: &[u8]) {
            // The hook that it sets is of the whole process, and there are other tests in it.
            $(let _ = || $init;)?
            let $data = <&$kind as super::Input>::of(data);
            $body
        }
    };
}

/// What a target is given: bytes, or the text that they begin with.
trait Input<'a> {
    fn of(data: &'a [u8]) -> Self;
}

impl<'a> Input<'a> for &'a [u8] {
    fn of(data: &'a [u8]) -> Self {
        data
    }
}

impl<'a> Input<'a> for &'a str {
    fn of(data: &'a [u8]) -> Self {
        data.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

#[path = "targets/address.rs"]
mod address;
#[path = "targets/cursor.rs"]
mod cursor;
#[path = "targets/imap_login.rs"]
mod imap_login;
#[path = "targets/mail.rs"]
mod mail;
#[path = "targets/provider_event.rs"]
mod provider_event;
#[path = "targets/signature.rs"]
mod signature;
#[path = "targets/smtp_reply.rs"]
mod smtp_reply;
#[path = "targets/table.rs"]
mod table;
#[path = "targets/template.rs"]
mod template;
#[path = "targets/token.rs"]
mod token;
#[path = "targets/url.rs"]
mod url;

/// A target's name, and what it says of an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 11] = [
    ("address", address::check),
    ("cursor", cursor::check),
    ("imap_login", imap_login::check),
    ("mail", mail::check),
    ("provider_event", provider_event::check),
    ("signature", signature::check),
    ("smtp_reply", smtp_reply::check),
    ("table", table::check),
    ("template", template::check),
    ("token", token::check),
    ("url", url::check),
];

#[test]
fn what_a_target_says_holds_for_every_seed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = vec![];
    for (name, check) in TARGETS {
        let mut folders = vec![root.join("fuzz/seeds").join(name)];
        if name == "mail" {
            folders.push(root.join("tests/fixtures/inbox"));
        }
        let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        for seed in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
            let data = fs::read(&seed).unwrap();
            if catch_unwind(|| check(&data)).is_err() {
                broken.push((name, seed));
            }
        }
    }
    assert!(broken.is_empty(), "not for these: {broken:#?}");
}

#[test]
fn every_target_is_built_by_the_fuzzer_and_replayed_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let here: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(here, names("targets"));
    assert_eq!(here, names("seeds"), "a folder of seeds for each");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in here {
        let path = format!("path = \"targets/{name}.rs\"");
        assert!(manifest.contains(&path), "fuzz/Cargo.toml does not build {name}");
    }
}
