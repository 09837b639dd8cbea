//! Every benchmark on both databases, each run a process of its own, the databases in turn; and a table in Markdown, a row
//! as soon as it is known.

use std::{env, process::Output};

use clap::Args;
use testkit::api::Error;
use tokio::process::Command;

use crate::{app, say, table::Said, versions};

/// What is run.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Times that each is run, where it is run more than once.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// These benchmarks only, by their names: `--only campaign,kill`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A tenth of everything, to see that it works.
    #[arg(long)]
    small: bool,
}

/// One benchmark with its rows of the table.
struct Benchmark {
    name: &'static str,
    /// Its command line, and what replaces its last word where everything is small.
    command: &'static [&'static str],
    small: &'static str,
    /// Whether it is run once only. Growth and memory take many minutes each: a past of a million is written, a million
    /// messages are sent. Growth and requests measure each of their figures five times by themselves.
    once: bool,
    rows: &'static [Row],
}

/// What it is, what is asked for, the name of the figure, and its unit. A name with a star is that of a figure which is
/// there for several sizes.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// In the order of their weight.
const BENCHMARKS: [Benchmark; 15] = [
    Benchmark {
        name: "campaign",
        command: &["ceiling", "--messages", "20000"],
        small: "2000",
        once: false,
        rows: &[
            ("campaign messages into a loopback sink, 10 lanes", "≥ 6,000/s", "messages_per_second", "/s"),
            ("… against `smtp-source -s 10 -d` into the same sink", "≥ 0.4 ×", "ratio", " ×"),
            ("… `smtp-source` itself", "", "smtp_source_per_second", "/s"),
            ("CPU per message, the application's", "≤ 0.10 ms", "cpu_ms_per_message", " ms"),
            ("… with the database's", "", "with_database", " ms"),
        ],
    },
    Benchmark {
        name: "single",
        command: &["campaign", "--connections", "1", "--messages", "20000"],
        small: "2000",
        once: false,
        rows: &[
            ("campaign messages, 10 lanes of one connection each", "", "messages_per_second", "/s"),
            ("… CPU per message, the application's", "", "cpu_ms_per_message", " ms"),
        ],
    },
    Benchmark {
        name: "data",
        command: &["ceiling", "--data", "--messages", "20000"],
        small: "2000",
        once: false,
        rows: &[
            ("campaign messages to a server without CHUNKING, 10 lanes", "", "messages_per_second", "/s"),
            ("… CPU per message, the application's", "", "cpu_ms_per_message", " ms"),
            ("… with the database's", "", "with_database", " ms"),
        ],
    },
    Benchmark {
        name: "rtt",
        command: &["campaign", "--rtt", "20", "--connections", "1", "--messages", "5000"],
        small: "1000",
        once: false,
        rows: &[
            ("the same with a round trip of 20 ms", "", "messages_per_second", "/s"),
            ("… against a client that waits for every reply", "≥ 1.5 ×", "times_the_waiting_client", " ×"),
        ],
    },
    Benchmark {
        name: "ceiling_rtt",
        command: &["ceiling", "--rtt", "20", "--connections", "1", "--messages", "2000"],
        small: "500",
        once: false,
        rows: &[
            (
                "… against `smtp-source -s 10 -d` into the same sink, with the same round trip",
                "",
                "ratio",
                " ×",
            ),
            ("… `smtp-source` itself", "", "smtp_source_per_second", "/s"),
        ],
    },
    Benchmark {
        name: "rtt_data",
        command: &["campaign", "--data", "--rtt", "20", "--connections", "1", "--messages", "5000"],
        small: "1000",
        once: false,
        rows: &[
            ("the same with 20 ms, to a server without CHUNKING", "", "messages_per_second", "/s"),
            ("… against a client that waits for every reply", "≥ 1.5 ×", "times_the_waiting_client", " ×"),
        ],
    },
    Benchmark {
        name: "kill",
        command: &["kill", "--messages", "10000"],
        small: "2000",
        once: false,
        rows: &[
            ("lost, after ten times `kill -9`", "0", "lost", ""),
            ("doubled", "0", "doubled", ""),
            ("uncertain", "≤ 1 per connection and kill", "uncertain", ""),
        ],
    },
    Benchmark {
        name: "requests",
        command: &["requests", "--rows", "1000000"],
        small: "100000",
        once: true,
        rows: &[
            (
                "GET one contact, 16 connections",
                "≥ 8,000/s SQLite, ≥ 5,000/s PostgreSQL",
                "get_contact.requests_per_second",
                "/s",
            ),
            ("… CPU, the application's", "", "get_contact.cpu_ms_per_request", " ms"),
            ("… with the database's", "", "get_contact.with_database", " ms"),
            ("page of 50 of 1,000,000, the first", "≥ 3,000/s", "first_page.requests_per_second", "/s"),
            ("… the 10,000th", "≥ 3,000/s", "deep_page.requests_per_second", "/s"),
            ("… CPU, the application's", "", "deep_page.cpu_ms_per_request", " ms"),
            ("… with the database's", "", "deep_page.with_database", " ms"),
            (
                "POST of one contact with an `Idempotency-Key`",
                "≥ 2,000/s",
                "keyed_post.requests_per_second",
                "/s",
            ),
            ("… CPU, the application's", "", "keyed_post.cpu_ms_per_request", " ms"),
            ("… with the database's", "", "keyed_post.with_database", " ms"),
        ],
    },
    Benchmark {
        name: "import",
        command: &["import", "--rows", "1000000"],
        small: "100000",
        once: false,
        rows: &[
            (
                "CSV import of 1,000,000 rows",
                "≥ 30,000/s SQLite, ≥ 50,000/s PostgreSQL",
                "rows_per_second",
                "/s",
            ),
            ("… the most memory", "flat", "peak_rss_mib", " MiB"),
            ("… CPU of a row, the application's", "", "cpu_us_per_row", " µs"),
            ("… with the database's", "", "with_database", " µs"),
        ],
    },
    Benchmark {
        name: "list",
        command: &["list", "--contacts", "50000"],
        small: "5000",
        once: false,
        rows: &[
            ("contacts of a list of 50,000 in JSON", "", "contacts_per_second", "/s"),
            ("… what another account's write waits before", "", "before.wait_ms", " ms"),
            ("… and meanwhile", "", "meanwhile.wait_ms", " ms"),
            ("… and meanwhile at the most", "≤ 500 ms", "meanwhile.longest_wait_ms", " ms"),
        ],
    },
    Benchmark {
        name: "enroll",
        command: &["enroll", "--contacts", "1000000"],
        small: "100000",
        once: false,
        rows: &[
            ("enroll of an import of 1,000,000", "≤ 30 s", "enroll_seconds", " s"),
            ("… CPU of an enrollment, the application's", "", "cpu_us_per_contact", " µs"),
            ("… with the database's", "", "with_database", " µs"),
            ("dispatch of 1,000,000 enrollments", "≤ 2 s", "dispatch_seconds", " s"),
            ("… memory before it", "", "dispatch_before_rss_mib", " MiB"),
            ("… the most memory", "flat", "dispatch_peak_rss_mib", " MiB"),
            ("… memory at its end", "", "dispatch_end_rss_mib", " MiB"),
        ],
    },
    Benchmark {
        name: "webhooks",
        command: &["webhooks", "--deliveries", "20000"],
        small: "2000",
        once: false,
        rows: &[
            ("webhook deliveries to a local receiver", "≥ 2,000/s", "deliveries_per_second", "/s"),
            ("… CPU of a delivery, the application's", "", "cpu_ms_per_delivery", " ms"),
            ("… with the database's", "", "with_database", " ms"),
        ],
    },
    Benchmark {
        name: "growth",
        command: &["growth", "--most", "1000000"],
        small: "10000",
        once: true,
        rows: &[
            ("claim of 50 with 10³, 10⁴, … finished before", "the same ± 20 %", "rows_*.claim_ms", " ms"),
            ("a message of one lane with as many", "the same ± 20 %", "rows_*.message_us", " µs"),
            ("… bytes in the database's log", "", "rows_*.wal_bytes", ""),
            ("… of them images of whole pages", "", "rows_*.wal_page_image_bytes", ""),
            ("dispatch of 1,000 enrollments with as many", "the same", "rows_*.dispatch_ms", " ms"),
            ("page of 50 enrollments with as many", "the same", "rows_*.list_ms", " ms"),
            ("a campaign's figures with as many", "the same", "rows_*.stats_ms", " ms"),
        ],
    },
    Benchmark {
        name: "limits",
        command: &["limits"],
        small: "limits",
        once: false,
        rows: &[
            ("sent by two processes under a plan of 1,999", "1,999", "sent_under_it", ""),
            ("… by ten mailboxes of 97 a day", "970", "sent_under_them", ""),
        ],
    },
    Benchmark {
        name: "memory",
        command: &["memory", "--messages", "1000000"],
        small: "100000",
        once: true,
        rows: &[
            ("resident memory while sending 1,000,000, the most", "≤ 150 MiB", "peak_rss_mib", " MiB"),
            ("… after a tenth", "", "tenth_rss_mib", " MiB"),
            ("… at the end", "flat", "end_rss_mib", " MiB"),
        ],
    },
];

/// Runs them and shows the table.
///
/// # Errors
/// One of them failed: its cells say so, and the others are run nevertheless.
pub async fn measure(arguments: &Arguments, app: &app::Arguments) -> Result<(), Error> {
    say(&format!("{}\n", versions::line(app).await?))?;
    say("| what | asked for | SQLite | PostgreSQL |\n|---|---|---|---|")?;
    let mut failed = vec![];
    for benchmark in &BENCHMARKS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == benchmark.name) {
            continue;
        }
        let runs = if benchmark.once { 1 } else { arguments.runs };
        let mut said = [Said::default(), Said::default()];
        let mut failures = [None, None];
        for _ in 0..runs {
            for ((said, failure), postgres) in said.iter_mut().zip(&mut failures).zip([false, true]) {
                match run(benchmark, arguments, app, postgres).await {
                    Ok(output) => said.hear(&output),
                    Err(error) => *failure = Some(error.to_string()),
                }
            }
        }
        for (what, asked, name, unit) in benchmark.rows {
            let [sqlite, postgres] = said.each_ref().map(|said| cell(said, name, unit));
            say(&format!("| {what} | {asked} | {sqlite} | {postgres} |"))?;
        }
        failed.extend(failures.into_iter().flatten().map(|error| format!("{}: {error}", benchmark.name)));
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// `1,250/s (1,109–1,306)`, or of all sizes `0.61, 0.56 ms`.
fn cell(said: &Said, name: &str, unit: &str) -> String {
    let cell = match name.split_once("*.") {
        Some((group, name)) => said.row(group, name),
        None => said.cell(name),
    };
    match cell.split_once(" (") {
        Some((middle, spread)) => format!("{middle}{unit} ({spread}"),
        None if cell == "–" => cell,
        None => format!("{cell}{unit}"),
    }
}

async fn run(
    benchmark: &Benchmark,
    arguments: &Arguments,
    app: &app::Arguments,
    postgres: bool,
) -> Result<String, Error> {
    let (last, first) = benchmark.command.split_last().ok_or("a benchmark without a command")?;
    let mut command = Command::new(env::current_exe()?);
    command.args(first).arg(if arguments.small { benchmark.small } else { last });
    command.arg("--within-seconds").arg(app.within_seconds.to_string());
    if let Some(binary) = &app.binary {
        command.arg("--binary").arg(binary);
    }
    if postgres {
        command.arg("--postgres");
    }
    let Output { status, stdout, stderr } = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&stdout).into_owned();
    eprint_progress(benchmark.name, postgres, &said);
    if status.success() { Ok(said) } else { Err(String::from_utf8_lossy(&stderr).trim().to_owned().into()) }
}

#[expect(clippy::print_stderr, reason = "what is under way, beside the table on standard output")]
fn eprint_progress(name: &str, postgres: bool, said: &str) {
    let database = if postgres { "PostgreSQL" } else { "SQLite" };
    eprintln!("{name} on {database}:\n{said}");
}
