//! How long it takes to enroll a large import in a campaign, and then to dispatch it: both from the request until all of
//! it is done, and with the memory that each needs.

use std::time::Instant;

use clap::Args;
use serde_json::json;
use testkit::api::{Error, number, text};

use crate::{app::App, campaign, mail, people, process, say};

/// What is enrolled.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Contacts of the import.
    #[arg(long, default_value_t = 1_000_000)]
    contacts: u64,
    /// Contacts of a batch.
    #[arg(long, default_value_t = 10_000)]
    batch_size: u32,
}

/// Enrolls and dispatches them, and says how long that took.
///
/// # Errors
/// A call that failed, or a contact that was left out.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let Arguments { contacts, batch_size } = arguments;
    let sink = mail::server().await?;
    let (api, _) = people::sign_up(app.api()?).await?;
    // One more was imported.
    let filled = people::fill(&api, app, contacts - 1).await?;
    let made = api.post("/campaigns", &campaign::campaign(1, sink.port())).await?;
    let path = format!("/campaigns/{}", text(&made, "/id")?);
    let body = json!({ "contact_import_id": filled.import, "batch_size": batch_size });
    let (before, begun) = (app.used()?, Instant::now());
    let mut enrolled = api.post(&format!("{path}/enroll"), &body).await?;
    if enrolled.get("status").is_some() {
        let job = format!("{path}/enroll_jobs/{}", text(&enrolled, "/id")?);
        enrolled = people::ended(&api, &job, app.within).await?;
    }
    let (took, after) = (begun.elapsed().as_secs_f64(), app.used()?);
    process::forget_peak(app.pid())?;
    let (resident, begun) = (process::resident_kib(app.pid())? / 1024, Instant::now());
    let dispatched = api.post(&format!("{path}/dispatch"), &json!({})).await?;
    let dispatch = begun.elapsed().as_secs_f64();
    let (let_go, end) = (app.used()?.app.peak_kib / 1024, process::resident_kib(app.pid())? / 1024);
    let used = after.since(&before);
    let count = f64::from(u32::try_from(contacts)?);
    say(&format!("database={} contacts={contacts} batch_size={batch_size}", app.database.kind()))?;
    say(&format!("enroll_seconds={took:.2} per_second={:.0} dispatch_seconds={dispatch:.3}", count / took))?;
    say(&format!(
        "cpu_us_per_contact={} peak_rss_mib={} before={}",
        used.micros_each(count),
        used.app.peak_kib / 1024,
        before.app.peak_kib / 1024
    ))?;
    say(&format!(
        "dispatch_peak_rss_mib={let_go} dispatch_before_rss_mib={resident} dispatch_end_rss_mib={end}"
    ))?;
    if (number(&enrolled, "/enrolled")?, number(&dispatched, "/dispatched")?) == (contacts, contacts) {
        Ok(())
    } else {
        Err(format!("not everybody was enrolled: {enrolled} {dispatched}").into())
    }
}
