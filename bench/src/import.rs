//! How fast a table of contacts is imported: rows per second from the first byte of the upload until the import is
//! completed, and the most memory that the application needed.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use testkit::api::{Error, number, text};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{app::App, people, process::Used, say};

/// What is imported.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Rows of the table.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// In place of that, as many bytes as an upload may have (512 MiB), in few long rows, and then one byte more.
    #[arg(long)]
    largest: bool,
}

/// Imports it, and says how fast that was.
///
/// # Errors
/// A call that failed, or a row that is not there.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    if arguments.largest {
        return largest(app).await;
    }
    let table = people::table(arguments.rows)?;
    let bytes = table.len();
    let (api, _) = people::sign_up(app.api()?).await?;
    let (before, begun) = (app.used()?, Instant::now());
    let answer = api.post_csv("/contact_imports?name=Bench", table.into_bytes()).await?;
    let uploaded = begun.elapsed();
    let path = format!("/contact_imports/{}", text(&answer, "/id")?);
    let import = people::ended(&api, &path, app.within).await?;
    let (took, after) = (begun.elapsed(), app.used()?);
    say(&format!("database={} rows={} mib={}", app.database.kind(), arguments.rows, bytes >> 20))?;
    report(arguments.rows, uploaded, took, before, after)?;
    check(&import, arguments.rows)
}

fn report(rows: u64, uploaded: Duration, took: Duration, before: Used, after: Used) -> Result<(), Error> {
    let rows = f64::from(u32::try_from(rows)?);
    say(&format!(
        "seconds={:.2} of_them_upload={:.2} rows_per_second={:.0}",
        took.as_secs_f64(),
        uploaded.as_secs_f64(),
        rows / took.as_secs_f64()
    ))?;
    let cpu = after.since(&before).micros_each(rows);
    let (peak, before) = (after.app.peak_kib / 1024, before.app.peak_kib / 1024);
    Ok(say(&format!("cpu_us_per_row={cpu} peak_rss_mib={peak} before={before}"))?)
}

/// Bytes that an upload may have.
const MOST: usize = 512 << 20;

/// Takes the largest upload to its end, and has one that is larger refused.
async fn largest(app: &App) -> Result<(), Error> {
    let (mut table, rows) = people::long_rows(MOST)?;
    let (api, key) = people::sign_up(app.api()?).await?;
    let (before, begun) = (app.used()?, Instant::now());
    let answer = api.post_csv("/contact_imports?name=Largest", table.clone().into_bytes()).await?;
    let uploaded = begun.elapsed();
    let path = format!("/contact_imports/{}", text(&answer, "/id")?);
    let import = people::ended(&api, &path, app.within).await?;
    let (took, after) = (begun.elapsed(), app.used()?);
    say(&format!("database={} rows={rows} mib={}", app.database.kind(), table.len() >> 20))?;
    report(rows, uploaded, took, before, after)?;
    check(&import, rows)?;
    table.push('\n');
    let begun = Instant::now();
    let status = upload_unannounced(app, &key, table.as_bytes()).await?;
    let (took, after) = (begun.elapsed(), app.used()?);
    say(&format!(
        "larger: {status} after {:.2} s, peak_rss_mib={}",
        took.as_secs_f64(),
        after.app.peak_kib / 1024
    ))?;
    if status.contains(" 413 ") { Ok(()) } else { Err("a larger upload was not refused".into()) }
}

/// Uploads in chunks, which do not say how many will come: it is refused only when too much has come. Answers the line
/// with the status.
async fn upload_unannounced(app: &App, key: &str, table: &[u8]) -> Result<String, Error> {
    let address = app.base.trim_start_matches("http://");
    let (read, mut write) = TcpStream::connect(address).await?.into_split();
    let head = format!(
        "POST /contact_imports?name=Larger HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let send = async {
        write.write_all(head.as_bytes()).await?;
        for chunk in table.chunks(1 << 20) {
            write.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
            write.write_all(chunk).await?;
            write.write_all(b"\r\n").await?;
        }
        write.write_all(b"0\r\n\r\n").await
    };
    let mut status = String::new();
    let mut read = BufReader::new(read);
    // It may hang up before the last byte: the answer is what counts.
    let (_, answered) = tokio::join!(send, read.read_line(&mut status));
    answered?;
    Ok(status.trim().to_owned())
}

fn check(import: &Value, rows: u64) -> Result<(), Error> {
    let whole = import.get("status").is_some_and(|status| status == "completed");
    if whole && number(import, "/record_count")? == rows {
        return Ok(());
    }
    Err(format!("not everything was imported: {import}").into())
}
