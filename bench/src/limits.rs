//! Limits with two processes and ten lanes, five for each: a plan's and a mailbox's, neither of which a burst divides. What
//! came is counted at the sink, and has to be the limit and not one more or less.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    api::{Error, text},
    wait::eventually,
};

use crate::{
    app::App,
    campaign::{self, Prepared},
    mail, say,
};

/// Lanes that each of the two processes may work at a time.
pub const LANES_EACH: u16 = 5;
/// The process that serves does not send.
pub const VARIABLES: [(&str, &str); 1] = [("ENGINE_EMBEDDED", "false")];
/// Sends that the plan allows in a period: a prime.
const PLAN: u64 = 1_999;
/// First messages of a mailbox a day: a prime.
const DAY: u64 = 97;
/// More than either limit lets through.
const PEOPLE: u64 = 3_000;
/// How long nothing more may come before it is believed.
const QUIET: Duration = Duration::from_secs(3);

/// Sends up to both limits.
///
/// # Errors
/// A call that failed, or a limit that was passed or not used up.
pub async fn measure(app: &App) -> Result<(), Error> {
    let engines = [app.engine()?, app.engine()?];
    let lanes = 2 * LANES_EACH;
    app.database.run(&format!("UPDATE plans SET monthly_limit = {PLAN}")).await?;
    let plan = reached(app, lanes, None, "plan_limit").await?;
    app.database.lift_limits().await?;
    let day = reached(app, lanes, Some(DAY), "daily_limit").await?;
    drop(engines);
    let asked = (PLAN, DAY * u64::from(lanes));
    say(&format!("database={} processes=2 lanes={lanes}", app.database.kind()))?;
    say(&format!(
        "plan_limit={} sent_under_it={plan} daily_limits={} sent_under_them={day}",
        asked.0, asked.1
    ))?;
    if (plan, day) == asked {
        Ok(())
    } else {
        Err(format!("{plan} and {day} instead of {asked:?} were sent").into())
    }
}

/// What came until everybody waits for this reason.
async fn reached(app: &App, lanes: u16, daily: Option<u64>, reason: &str) -> Result<u64, Error> {
    let sink = mail::server().await?;
    let api = app.api()?;
    let account = api.post("/signup", &json!({ "email": format!("{reason}@example.com") })).await?;
    let api = api.with_key(text(&account, "/api_key/plaintext")?);
    let mut campaign = campaign::campaign(lanes, sink.port());
    if let (Some(limit), Some(mailboxes)) = (daily, campaign.pointer_mut("/campaign/smtp_credentials")) {
        for mailbox in mailboxes.as_array_mut().into_iter().flatten() {
            if let Some(mailbox) = mailbox.as_object_mut() {
                mailbox.insert("daily_limit".to_owned(), json!(limit));
            }
        }
    }
    let prepared = campaign::made(api, &campaign).await?;
    prepared.enroll(0..PEOPLE).await?;
    prepared.dispatch().await?;
    let on_its_way = "SELECT CAST(coalesce(sum(reserved), 0) AS bigint) FROM account_periods";
    let settled = eventually(app.within, || async {
        let waits = waits(&prepared, reason).await;
        (waits && app.database.number(on_its_way).await.ok()? == 0).then_some(())
    });
    settled.await?;
    // One that should not go would come now.
    let seen = sink.count();
    sink.wait_for(seen + 1, QUIET).await.err().ok_or("one more came after everybody waited")?;
    let tally = sink.tally();
    if tally.messages == tally.recipients { Ok(seen) } else { Err("somebody was written to twice".into()) }
}

/// Whether who is not sent yet waits for this reason.
async fn waits(prepared: &Prepared, reason: &str) -> bool {
    let path = format!("{}/enrollments?status=pending&limit=1", prepared.path);
    let first = prepared.api.get(&path).await.unwrap_or(Value::Null);
    first.pointer("/0/waiting_reason").is_some_and(|shown| shown == reason)
}
