//! How many requests a second the API answers over 16 kept connections: one contact, list pages at the beginning and far
//! into a large list, and small writes with an `Idempotency-Key`. The load comes from `wrk` (Debian package of that name).

use std::path::Path;

use clap::Args;
use tempfile::TempDir;
use testkit::api::Error;
use tokio::{fs, process::Command};

use crate::{app::App, people, say, spread::Spread};

/// Contacts that are asked for one by one, in turn.
const SAMPLE: u64 = 1_000;
/// Rows of a page that is measured.
const PAGE: u64 = 50;

/// What to measure requests with.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Contacts in the list.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// The page, of 50 rows, that counts as deep.
    #[arg(long, default_value_t = 10_000)]
    deep_page: u64,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 16)]
    connections: u16,
    /// Seconds for each figure.
    #[arg(long, default_value_t = 4)]
    seconds: u16,
    /// Times that each is measured.
    #[arg(long, default_value_t = 5)]
    runs: u16,
}

/// Fills the account and measures each kind of request.
///
/// # Errors
/// A call that failed, or an answer that is no success under load.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let (api, key) = people::sign_up(app.api()?).await?;
    let filled = people::fill(&api, app, arguments.rows).await?;
    let first = format!("/contacts?limit={PAGE}");
    let before = ((arguments.deep_page.max(2) - 1) * PAGE).min(arguments.rows - 1);
    let deep = format!("{first}&after={}", filled.id(before));
    // Spread over all of them, so that no page of the database serves two.
    let sample = (0..SAMPLE).map(|n| format!("/contacts/{}", filled.id(n * arguments.rows / SAMPLE)));
    let load = Load { arguments, app, key: &key, scripts: tempfile::tempdir()? };
    say(&format!("database={} rows={}", app.database.kind(), arguments.rows))?;
    load.run("get_contact", &gets(&sample.collect::<Vec<_>>())).await?;
    load.run("first_page", &gets(&[first])).await?;
    load.run("deep_page", &gets(&[deep])).await?;
    load.run("keyed_post", POSTS).await
}

/// A script that asks for the paths in turn.
fn gets(paths: &[String]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
    let turn = "function request() n = n % #paths + 1 return wrk.format(\"GET\", paths[n]) end";
    format!("local paths = {{{}}}\nlocal n = 0\n{turn}\n", paths.join(", "))
}

/// Imports of one contact, none like another.
const POSTS: &str = r#"
math.randomseed(os.time())
local run, n = math.random(1, 2 ^ 30), 0
function request()
  n = n + 1
  wrk.headers["Idempotency-Key"] = "bench-" .. run .. "-" .. n
  local body = '{"contact_import":{"name":"One","contacts":[{"email":"' .. run .. "-" .. n ..
    '@example.org","first_name":"First","last_name":"Last","company":"Company"}]}}'
  return wrk.format("POST", "/contact_imports", nil, body)
end
"#;

struct Load<'a> {
    arguments: Arguments,
    app: &'a App,
    key: &'a str,
    scripts: TempDir,
}

impl Load<'_> {
    async fn run(&self, name: &str, script: &str) -> Result<(), Error> {
        let file = self.scripts.path().join(format!("{name}.lua"));
        fs::write(&file, script).await?;
        let mut rates = Vec::new();
        let before = self.app.used()?;
        let mut answered = 0.0;
        for _ in 0..self.arguments.runs {
            let rate = self.once(&file).await?;
            answered += rate * f64::from(self.arguments.seconds);
            rates.push(rate);
        }
        let used = self.app.used()?.since(&before);
        let rate = Spread::of(rates).ok_or("nothing was measured")?.told(0);
        let (cpu, peak) = (used.millis_each(answered), used.app.peak_kib / 1024);
        Ok(say(&format!("{name}: requests_per_second={rate} cpu_ms_per_request={cpu} peak_rss_mib={peak}"))?)
    }

    async fn once(&self, script: &Path) -> Result<f64, Error> {
        let connections = self.arguments.connections;
        let ran = Command::new("wrk")
            .args(["-t1", &format!("-c{connections}"), &format!("-d{}s", self.arguments.seconds)])
            .args(["-H", &format!("Authorization: Bearer {}", self.key)])
            .args(["-H", "Content-Type: application/json"])
            .arg("-s")
            .arg(script)
            .arg(&self.app.base)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| format!("wrk: {error}; is the package `wrk` installed?"))?;
        let said = String::from_utf8_lossy(&ran.stdout);
        if let Some(bad) =
            said.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
        {
            return Err(bad.trim().to_owned().into());
        }
        let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        Ok(rate.ok_or_else(|| format!("wrk said: {said}"))?.trim().parse()?)
    }
}
