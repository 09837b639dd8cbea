//! What figures were taken with and on, in one line.

use std::{fs, path::Path, process::Output};

use testkit::{api::Error, postgres::programs};
use tokio::process::Command;

use crate::{app, database};

/// Where Debian keeps what sets up Postfix.
const POSTCONF: &str = "/usr/sbin/postconf";
/// What compilers leave in a program is marked by this.
const COMPILER: &[u8] = b"rustc version ";

/// `versions: Linux 6.1.0, rustc 1.95.0 (…), …`: what is not there is left out.
///
/// # Errors
/// The application is not there.
pub async fn line(app: &app::Arguments) -> Result<String, Error> {
    let program = app.program()?;
    let compiler = tokio::task::spawn_blocking(move || compiler(&program)).await??;
    let postgres = match programs() {
        Some(programs) => said(&programs.join("postgres"), &["--version"]).await,
        None => None,
    };
    // `postgres (PostgreSQL) 15.18 (Debian …)`
    let postgres = postgres.and_then(|said| Some(said.split_once('(')?.1.replacen(')', "", 1)));
    let postfix = said(Path::new(POSTCONF), &["-d", "-h", "mail_version"]).await;
    let wrk = said(Path::new("wrk"), &["-v"]).await;
    let wrk = wrk.and_then(|said| Some(said.split_once(" [")?.0.to_owned()));
    // Of an application from elsewhere nobody knows.
    let commit = match app.binary {
        None => {
            said(Path::new("git"), &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
                .await
        }
        Some(_) => None,
    };
    let all = [
        fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|it| format!("Linux {}", it.trim())),
        compiler.map(|it| format!("rustc {it}")),
        postgres,
        Some(format!("SQLite {}", database::sqlite_version().await?)),
        postfix.map(|it| format!("Postfix {it}")),
        wrk,
        processor(),
        commit.map(|it| format!("commit {it}")),
    ];
    Ok(format!("versions: {}", all.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

/// That which built the application, as it stands in it.
fn compiler(program: &Path) -> Result<Option<String>, Error> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let after = |at: usize| bytes.get(at + COMPILER.len()..).unwrap_or_default();
    let texts = bytes.windows(COMPILER.len()).enumerate().filter(|(_, window)| *window == COMPILER);
    let mut texts =
        texts.filter_map(|(at, _)| std::str::from_utf8(after(at).split(|byte| *byte == 0).next()?).ok());
    // The mark by itself may be in a program that looks for it.
    Ok(texts.find(|text| text.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned))
}

/// The model and how many of them.
fn processor() -> Option<String> {
    let known = fs::read_to_string("/proc/cpuinfo").ok()?;
    let mut models = known.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let (_, model) = models.next()?;
    Some(format!("{} × {}", models.count() + 1, model.trim()))
}

/// The first line of what a program says of itself, whatever its status: `wrk` fails.
async fn said(program: &Path, arguments: &[&str]) -> Option<String> {
    let Output { stdout, .. } =
        Command::new(program).args(arguments).kill_on_drop(true).output().await.ok()?;
    let text = String::from_utf8_lossy(&stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}
