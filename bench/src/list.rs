//! How fast a list of contacts in JSON is taken, which is stored while its request waits, and what another account
//! notices of it: how long its smallest write waits, before and meanwhile.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use testkit::api::{Api, Error, number};
use tokio::sync::oneshot;

use crate::{app::App, people, say, spread::Spread};

/// Writes of the other account before the list comes.
const BEFORE: usize = 200;

/// What is imported.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Contacts of the list: at most 50,000, and at least as many as take a while.
    #[arg(long, default_value_t = 50_000)]
    contacts: u32,
}

/// Imports it while another account writes, and says how fast that was and how long the other waited.
///
/// # Errors
/// A call that failed, or a contact that is not there.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let (api, _) = people::sign_up(app.api()?).await?;
    let (neighbour, _) = people::sign_up_as(app.api()?, "neighbour@example.com").await?;
    let mut quiet = Vec::with_capacity(BEFORE);
    for _ in 0..BEFORE {
        quiet.push(write(&neighbour, quiet.len()).await?);
    }
    let list = people::list(arguments.contacts);
    let (ended, end) = oneshot::channel();
    let imports = async {
        let (before, begun) = (app.used()?, Instant::now());
        let import = api.post("/contact_imports", &list).await?;
        let took = begun.elapsed();
        // Whoever heard that it ended is gone only where it failed, and says so itself.
        let _unheard = ended.send(());
        Ok::<_, Error>((import, took, app.used()?.since(&before)))
    };
    let ((import, took, used), busy) = tokio::try_join!(imports, keep_writing(&neighbour, end))?;
    let contacts = f64::from(arguments.contacts);
    say(&format!("database={} contacts={}", app.database.kind(), arguments.contacts))?;
    say(&format!(
        "contacts_per_second={:.0} seconds={:.2} cpu_us_per_contact={} peak_rss_mib={}",
        contacts / took.as_secs_f64(),
        took.as_secs_f64(),
        used.micros_each(contacts),
        used.app.peak_kib / 1024
    ))?;
    report("before", &quiet)?;
    report("meanwhile", &busy)?;
    check(&import, arguments.contacts)
}

/// Writes one after another until the list's request has its answer.
async fn keep_writing(api: &Api, mut end: oneshot::Receiver<()>) -> Result<Vec<Duration>, Error> {
    let mut took = vec![];
    while end.try_recv().is_err() {
        took.push(write(api, BEFORE + took.len()).await?);
    }
    Ok(took)
}

/// One contact of the other account, and how long that took.
async fn write(api: &Api, n: usize) -> Result<Duration, Error> {
    let one = json!({ "contact_import": {
        "name": "One", "contacts": [{ "email": format!("one-{n}@example.com") }],
    } });
    let begun = Instant::now();
    api.post("/contact_imports", &one).await?;
    Ok(begun.elapsed())
}

fn report(when: &str, took: &[Duration]) -> Result<(), Error> {
    let millis = took.iter().map(|took| took.as_secs_f64() * 1_000.0);
    let spread = Spread::of(millis).ok_or("nothing was written beside the list: it is too short")?;
    Ok(say(&format!(
        "{when}: other_writes={} wait_ms={:.1} longest_wait_ms={:.0}",
        took.len(),
        spread.middle,
        spread.most
    ))?)
}

fn check(import: &Value, contacts: u32) -> Result<(), Error> {
    if number(import, "/record_count")? == u64::from(contacts) {
        return Ok(());
    }
    Err(format!("not everybody was imported: {import}").into())
}
