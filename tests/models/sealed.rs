//! The list of sealed columns against the schema: whether a column of bytes is sealed is decided here.

use std::{collections::BTreeSet, fs, path::Path};

use ampout::models::sealed::SEALED;

/// Columns of bytes that are no secret: hashes, and uploads, whose contacts stand in clear beside them.
const PLAIN: [(&str, &str); 4] =
    [("api_keys", "digest"), ("import_chunks", "body"), ("idempotency_keys", "fingerprint"), ("suppressions", "email_hash")];

/// Table and column of everything that a migration declares as bytes.
fn columns_of_bytes() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/src");
    let (mut found, mut table) = (BTreeSet::new(), String::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|name| name != "sql") {
            continue;
        }
        for line in fs::read_to_string(path).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["CREATE" | "ALTER", "TABLE", name, ..] = words[..] {
                table = name.to_owned();
            }
            if let Some(at) = words.iter().position(|word| word.trim_end_matches([',', ';']) == "{bytes}") {
                found.insert((table.clone(), words[at - 1].to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_column_of_bytes_is_sealed_or_known_to_be_no_secret() {
    let sealed = SEALED.iter().map(|it| (it.table, it.column));
    let listed: BTreeSet<_> =
        sealed.chain(PLAIN).map(|(table, column)| (table.to_owned(), column.to_owned())).collect();
    assert_eq!(columns_of_bytes(), listed);
}
