//! How fast a table of contacts is imported: rows per second from the first byte of the upload until the import is
//! completed, and the most memory that the application needed.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use testkit::api::{Error, number, text};

use crate::{app::App, people, process::Usage, say};

/// What is imported.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Rows of the table.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
}

/// Imports it, and says how fast that was.
///
/// # Errors
/// A call that failed, or a row that is not there.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let table = people::table(arguments.rows)?;
    let bytes = table.len();
    let (api, _) = people::sign_up(app.api()?).await?;
    let (before, begun) = (Usage::of(app.pid())?, Instant::now());
    let answer = api.post_csv("/contact_imports?name=Bench", table.into_bytes()).await?;
    let uploaded = begun.elapsed();
    let path = format!("/contact_imports/{}", text(&answer, "/id")?);
    let import = people::ended(&api, &path, app.within).await?;
    let (took, after) = (begun.elapsed(), Usage::of(app.pid())?);
    say(&format!("database={} rows={} mib={}", app.database.kind(), arguments.rows, bytes >> 20))?;
    report(arguments.rows, uploaded, took, before, after)?;
    check(&import, arguments.rows)
}

fn report(rows: u64, uploaded: Duration, took: Duration, before: Usage, after: Usage) -> Result<(), Error> {
    let rows = f64::from(u32::try_from(rows)?);
    say(&format!(
        "seconds={:.2} of_them_upload={:.2} rows_per_second={:.0}",
        took.as_secs_f64(),
        uploaded.as_secs_f64(),
        rows / took.as_secs_f64()
    ))?;
    say(&format!(
        "cpu_us_per_row={:.1} peak_rss_mib={} before={}",
        after.since(&before).cpu.as_secs_f64() * 1e6 / rows,
        after.peak_kib / 1024,
        before.peak_kib / 1024
    ))?;
    Ok(())
}

fn check(import: &Value, rows: u64) -> Result<(), Error> {
    let whole = import.get("status").is_some_and(|status| status == "completed");
    if whole && number(import, "/record_count")? == rows {
        return Ok(());
    }
    Err(format!("not everything was imported: {import}").into())
}
