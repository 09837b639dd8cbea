//! The source text of the application, for tests that hold rules which the compiler does not.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Rust file of this repository.
pub struct Source {
    /// Its path from the root, with forward slashes.
    pub path: String,
    /// Its text as it stands.
    pub text: String,
}

impl Source {
    /// What is compiled into the application: no comments, and nothing from the first inline test module on.
    pub fn code(&self) -> String {
        let whole = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = whole.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether the file holds nothing but tests.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part.trim_end_matches(".rs").ends_with("tests"))
    }

    /// Every path that a `use` of the code names, with its groups spread out.
    pub fn imports(&self) -> Vec<String> {
        let mut found = vec![];
        let (code, mut open) = (self.code(), String::new());
        for statement in code.lines().filter_map(|line| gather(&mut open, line)) {
            spread("", &statement, &mut found);
        }
        found
    }
}

/// Hands out a `use` statement once its semicolon was seen.
fn gather(open: &mut String, line: &str) -> Option<String> {
    let line = line.trim();
    let begin = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
    if open.is_empty() {
        open.push_str(begin.iter().find_map(|word| line.strip_prefix(word))?);
    } else {
        open.push_str(line);
    }
    if !open.ends_with(';') {
        return None;
    }
    Some(std::mem::take(open).trim_end_matches(';').to_owned())
}

fn spread(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        found.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    spread(&prefix, part, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// All Rust files under `folder`, sorted.
pub fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut open, mut found): (Vec<PathBuf>, Vec<Source>) = (vec![root.join(folder)], vec![]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|name| name == "rs") {
                let short = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path: short, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

#[test]
fn a_use_statement_is_spread_over_lines_and_groups() {
    let text = "use crate::{\n    clock::Timestamp,\n    models::{self, states::{A, B}},\n};\n// use sea_orm::x;\nuse std::fmt;\n#[cfg(test)]\nmod tests {\n    use tokio::x;\n}\n";
    let source = Source { path: "src/x.rs".into(), text: text.into() };
    let expected = [
        "crate::clock::Timestamp",
        "crate::models::self",
        "crate::models::states::A",
        "crate::models::states::B",
        "std::fmt",
    ];
    assert_eq!(source.imports(), expected);
}
