//! What may lean on what, and the rules of style that no lint knows, read from the source itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::source::{Source, sources};

/// The files that may make a scope that sees every account, each for one purpose.
const SYSTEM_SCOPES: [&str; 39] = [
    "src/billing/customers.rs",
    "src/billing/inbound.rs",
    "src/billing/notices.rs",
    "src/billing/reconcile.rs",
    "src/billing/sync.rs",
    "src/engine/sender.rs",
    "src/engine/sweeper.rs",
    "src/http/idempotency.rs",
    "src/http/write.rs",
    "src/imports/listed.rs",
    "src/imports/upload.rs",
    "src/inbound/apply.rs",
    "src/inbox/apply.rs",
    "src/inbox/lease.rs",
    "src/inbox/poll.rs",
    "src/jobs/lease.rs",
    "src/jobs/listing.rs",
    "src/metrics/sample.rs",
    "src/models/api_keys.rs",
    "src/models/api_keys/lookups.rs",
    "src/models/opens.rs",
    "src/models/suppressions.rs",
    "src/models/usage.rs",
    "src/sending/health.rs",
    "src/sending/lanes/leaving.rs",
    "src/sending/lanes/taking.rs",
    "src/sending/ledger/mod.rs",
    "src/sending/program.rs",
    "src/sending/stranded.rs",
    "src/state.rs",
    "src/tasks/accounts/export.rs",
    "src/tasks/operation.rs",
    "src/tenancy/system.rs",
    "src/webhooks/lanes.rs",
    "src/webhooks/recorder.rs",
    "src/webhooks/trial.rs",
    "src/workers/enroll_import.rs",
    "src/workers/import_contacts.rs",
    "src/workers/send_system_mail.rs",
];

/// Decisions: a value in, a value out.
const PURE: [&str; 21] = [
    "src/billing/event.rs",
    "src/billing/signature.rs",
    "src/imports/columns.rs",
    "src/imports/records.rs",
    "src/inbound/smtp2go.rs",
    "src/inbox/auto.rs",
    "src/inbox/classify.rs",
    "src/inbox/fields.rs",
    "src/inbox/matching.rs",
    "src/inbox/notice.rs",
    "src/models/opens/reader.rs",
    "src/models/periods/turn.rs",
    "src/models/subscriptions/choice.rs",
    "src/net/deny.rs",
    "src/sending/estimate.rs",
    "src/sending/forecast.rs",
    "src/sending/ledger/decide.rs",
    "src/sending/retry.rs",
    "src/sending/smtp/classify.rs",
    "src/sending/waiting.rs",
    "src/webhooks/schedule.rs",
];

/// Where tasks begin: the engine's supervised loops, the jobs that one of them runs, what serves a connection, which ends
/// with its server, and commits that several wait for, of whom one may go away.
const SPAWNING: [&str; 4] = ["src/db/writer.rs", "src/engine/", "src/http/serve.rs", "src/jobs/run.rs"];

/// The application's files without those that hold only tests.
fn application() -> impl Iterator<Item = Source> {
    sources("src").into_iter().filter(|source| !source.is_test())
}

/// The files whose code has `pattern`.
fn with(pattern: &str) -> Vec<String> {
    application().filter(|source| source.code().contains(pattern)).map(|source| source.path).collect()
}

/// Whether an import or a path in the code leads into `module`.
fn leads_into(source: &Source, module: &str) -> bool {
    source.imports().iter().any(|path| path == module || path.starts_with(&format!("{module}::")))
        || source.code().contains(&format!("{module}::"))
}

#[track_caller]
fn none_of<const N: usize>(files: impl Iterator<Item = Source>, modules: [&str; N]) {
    for source in files {
        for module in modules {
            assert!(!leads_into(&source, module), "{} imports {module}", source.path);
        }
    }
}

#[test]
fn nothing_but_the_wiring_imports_controllers() {
    let others =
        application().filter(|it| !it.path.starts_with("src/controllers/") && it.path != "src/app.rs");
    none_of(others, ["crate::controllers", "super::controllers", "ampout::controllers"]);
}

#[test]
fn models_know_neither_http_nor_smtp() {
    let models = || application().filter(|it| it.path.starts_with("src/models/"));
    assert!(models().count() > 20);
    none_of(models(), ["axum", "lettre", "loco_rs::controller", "crate::sending::smtp", "crate::views"]);
    none_of(models(), ["crate::http", "crate::params", "crate::sending"]);
}

#[test]
fn views_and_params_do_not_read_the_database() {
    let shapes =
        application().filter(|it| it.path.starts_with("src/views/") || it.path.starts_with("src/params/"));
    none_of(shapes, ["sea_orm", "crate::db", "crate::controllers", "crate::engine"]);
}

#[test]
fn the_path_of_a_message_does_not_know_http() {
    let sending = application().filter(|it| {
        ["src/sending/", "src/engine/", "src/billing/"].iter().any(|at| it.path.starts_with(at))
    });
    none_of(sending, ["axum", "crate::http", "crate::params", "crate::views"]);
}

#[test]
fn errors_name_http_only_where_they_become_answers() {
    let inner =
        application().filter(|it| it.path.starts_with("src/errors/") && it.path != "src/errors/respond.rs");
    none_of(inner, ["axum"]);
}

#[test]
fn decisions_import_neither_the_orm_nor_the_runtime() {
    let pure: Vec<_> = application().filter(|source| PURE.contains(&source.path.as_str())).collect();
    assert_eq!(pure.len(), PURE.len(), "a file of the list is gone");
    none_of(pure.into_iter(), ["sea_orm", "tokio", "crate::db", "crate::tenancy", "rand"]);
}

#[test]
fn only_listed_files_see_every_account() {
    let mut found = with("SystemScope::new");
    found.extend(with("SystemScope::in_transaction"));
    found.sort();
    found.dedup();
    let expected: Vec<_> =
        SYSTEM_SCOPES.into_iter().filter(|path| *path != "src/tenancy/system.rs").collect();
    assert_eq!(found, expected, "each of these may look at all accounts: list it with care");
}

#[test]
fn the_clock_is_read_in_one_place() {
    assert_eq!(with("Utc::now"), ["src/clock.rs"]);
    assert_eq!(with("SystemTime::now"), Vec::<String>::new());
}

#[test]
fn tasks_begin_in_the_engine_only() {
    for source in application() {
        // Blocking work that is waited for is no task of its own.
        let code = source.code().replace("task::spawn_blocking", "");
        let begins = ["tokio::spawn", "task::spawn", ".spawn("].iter().any(|call| code.contains(call));
        let may = SPAWNING.iter().any(|place| source.path.starts_with(place));
        assert!(may || !begins, "{} begins a task that nobody supervises", source.path);
    }
}

/// Which folders lean on which others, as the map says and as the source does.
#[test]
fn calls_go_as_the_map_says() {
    type Arrows = BTreeMap<String, BTreeSet<String>>;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let table = map.split("## ").find(|section| section.starts_with("What leans on what")).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("/` |"));
    let said: Arrows = rows
        .map(|(from, to)| {
            let to = to.trim_end_matches('|').split(',').map(|name| name.trim().to_owned());
            (from.to_owned(), to.filter(|name| !name.is_empty()).collect())
        })
        .collect();

    let mut found: Arrows = said.keys().map(|folder| (folder.clone(), BTreeSet::new())).collect();
    for source in application() {
        let Some((folder, _)) = source.path["src/".len()..].split_once('/') else { continue };
        let Some(leans_on) = found.get_mut(folder) else { continue };
        let code = source.code();
        let named = code.split("crate::").skip(1).filter_map(|path| path.split(|c: char| !is_word(c)).next());
        let imports = source.imports();
        let imported = imports.iter().filter_map(|path| path.strip_prefix("crate::")?.split("::").next());
        leans_on.extend(
            named.chain(imported).filter(|to| said.contains_key(*to) && *to != folder).map(str::to_owned),
        );
    }
    assert_eq!(found, said);
    let folders = std::fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().is_dir());
    let mut all: BTreeSet<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    for everybodys in ["bin", "config", "db", "errors", "metrics"] {
        assert!(all.remove(everybodys), "there is no src/{everybodys}");
    }
    assert_eq!(said.into_keys().collect::<BTreeSet<_>>(), all, "a folder is missing in the table");
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whoever looks for the room of a change begins with the map.
#[test]
fn the_map_names_every_room_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let table = map.split("## ").find(|section| section.starts_with("The folders of `src/`")).unwrap();
    let rooms: BTreeSet<String> = std::fs::read_dir(root.join("src"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() { format!("{name}/") } else { name }
        })
        .collect();
    let named: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').filter(|name| name.ends_with('/') || name.contains(".rs")))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, rooms);
    let way = map.split("## ").find(|section| section.starts_with("A contact's way")).unwrap();
    for file in way.split('`').filter(|name| name.contains(".rs") && name.contains('/')) {
        assert!(root.join("src").join(file).exists(), "there is no src/{file}");
    }
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    for (folder, most) in [
        ("src", 400),
        ("tests", 600),
        ("migration/src", 400),
        ("testkit", 400),
        ("bench", 400),
        ("demo", 400),
    ] {
        for source in sources(folder) {
            let lines = source.text.lines().count();
            assert!(lines <= most, "{} has {lines} lines, {most} are allowed", source.path);
        }
    }
}

#[test]
fn a_lint_is_expected_with_a_reason_and_never_allowed() {
    let attributes = ["#[", "#!["].map(|open| format!("{open}allow("));
    for folder in ["src", "tests", "migration/src", "testkit", "bench", "demo"] {
        for source in sources(folder) {
            assert!(!attributes.iter().any(|it| source.text.contains(it)), "{}", source.path);
        }
    }
}

#[test]
fn a_module_says_what_it_is_for() {
    for source in application() {
        assert!(source.text.starts_with("//!"), "{} does not say what it is for", source.path);
    }
}
