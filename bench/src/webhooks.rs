//! How fast events reach endpoints: deliveries per second from the first that arrives to the last, at a receiver in this
//! process that only counts. The events are written before, behind the application.

use std::time::Instant;

use serde_json::json;
use testkit::{
    api::{Error, text},
    receiver::Receiver,
    wait::eventually,
};

use crate::{app::App, say};

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Arguments {
    /// How many events are delivered, over all endpoints.
    #[arg(long, default_value_t = 20_000)]
    deliveries: u64,
    /// How many endpoints they are for, at most 20.
    #[arg(long, default_value_t = 1)]
    endpoints: u64,
}

/// Delivers, and says how fast it went.
///
/// # Errors
/// A call that failed, or not everything came, or something came twice.
pub async fn measure(arguments: Arguments, app: &App) -> Result<(), Error> {
    let Arguments { deliveries, endpoints } = arguments;
    let (api, database, within) = (app.api()?, &app.database, app.within);
    let receiver = Receiver::start_counting().await?;
    let account = api.post("/signup", &json!({ "email": "bench@example.com" })).await?;
    let account_id = text(&account, "/account_id")?;
    let api = api.with_key(text(&account, "/api_key/plaintext")?);
    let mut webhooks = Vec::new();
    for number in 0..endpoints {
        let webhook = json!({ "webhook": { "url": receiver.url(&format!("/{number}")) } });
        webhooks.push(text(&api.post("/webhooks", &webhook).await?, "/id")?);
    }
    database.run("UPDATE webhooks SET disabled_at = 1").await?;
    for webhook in &webhooks {
        database.write_events(&account_id, webhook, deliveries / endpoints).await?;
    }
    database.run("UPDATE webhooks SET disabled_at = NULL").await?;
    receiver.wait_for_count(1, within).await?;
    let (before, started) = (app.used()?, Instant::now());
    let expected = deliveries / endpoints * endpoints;
    let came = receiver.wait_for_count(expected, within).await;
    let (seconds, used) = (started.elapsed().as_secs_f64(), app.used()?.since(&before));
    let recorded = eventually(within, || async {
        let path = format!("/webhooks/{}/deliveries?limit=1", webhooks.last()?);
        let rows = api.get(&path).await.ok()?;
        rows.pointer("/0/delivered_at")?.as_str().map(|_| ())
    });
    recorded.await?;
    say(&format!("database={} endpoints={endpoints} deliveries={}", database.kind(), receiver.count()))?;
    let count = f64::from(u32::try_from(expected)?);
    say(&format!("seconds={seconds:.2} deliveries_per_second={:.0}", count / seconds))?;
    let (cpu, peak) = (used.millis_each(count), used.app.peak_kib / 1024);
    say(&format!("cpu_ms_per_delivery={cpu} peak_rss_mib={peak}"))?;
    came?;
    let doubled = receiver.count().saturating_sub(expected);
    if doubled > 0 { Err(format!("{doubled} came twice").into()) } else { Ok(()) }
}
