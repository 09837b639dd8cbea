//! What must hold when all is at rest again (docs/SENDING.md, "The promise"), looked for at the sink and in the rows.
//!
//! S1 nobody gets a step twice. S2 nobody is left over. S3 nobody who left is written to. S4 no limit is passed. S5 no row
//! was changed by who no longer held it: the counts agree with the rows. S6 nothing goes out after a pause.

use std::time::Duration;

use testkit::{api::Error, sink::Sink, wait::eventually};

use tokio::time::sleep;

use crate::{app::App, rounds::Witness, say};

/// How long all of it may take to come to rest.
const REST: Duration = Duration::from_secs(300);
/// How often waits are ended.
const LOOK: Duration = Duration::from_millis(500);

/// Ends waits that only time would end, until nothing is left to do. Answers how many mailboxes passed their day before
/// that: those whose day is used up are let on now, for somebody whom the server put off waits for the next.
///
/// # Errors
/// The database does not answer.
pub async fn come_to_rest(app: &App) -> Result<i64, Error> {
    let database = &app.database;
    let over = database.number(OVER_THEIR_DAY).await?;
    database.run("UPDATE smtp_credentials SET daily_limit = 100000").await?;
    // What did not come to rest is told by its rows.
    eventually(REST, || async {
        sleep(LOOK).await;
        for wait in [
            "UPDATE smtp_credentials SET next_send_at = 0, wake_at = 0 WHERE holder IS NULL AND wake_at IS NOT NULL",
            "UPDATE enrollments SET due_at = 0 WHERE progress = 'waiting' AND due_at > 0",
        ] {
            database.run(wait).await.ok()?;
        }
        let left = "SELECT (SELECT count(*) FROM enrollments WHERE progress NOT IN ('finished', 'uncertain')) \
                    + (SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')) \
                    + (SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL)";
        (database.number(left).await.ok()? == 0).then_some(())
    })
    .await
    .ok();
    Ok(over)
}

/// What did not hold.
///
/// # Errors
/// The database does not answer.
pub async fn broken(app: &App, sink: &Sink, witness: &Witness, enrolled: u64) -> Result<Vec<String>, Error> {
    let (tally, mut broken) = (sink.tally(), witness.broken());
    let count = async |sql: &str| app.database.number(sql).await;
    let sent = count("SELECT count(*) FROM deliveries WHERE state = 'sent'").await?;
    let uncertain = count("SELECT count(*) FROM deliveries WHERE state = 'uncertain'").await?;
    let messages = i64::try_from(tally.messages)?;
    say(&format!("arrived={messages} sent={sent} uncertain={uncertain} refused={}", tally.refused))?;
    broken.extend(s3_without_proof(app, witness).await?);
    let mut must = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    must(tally.messages == tally.pairs, format!("S1: {} came twice", tally.messages - tally.pairs));
    must(
        (sent..=sent + uncertain).contains(&messages),
        format!("S1, S2: {messages} came, {sent} are sent and {uncertain} uncertain"),
    );
    for (what, sql, expected) in [
        ("S2: enrollments", "SELECT count(*) FROM enrollments", i64::try_from(enrolled)?),
        ("S2: enrollments left over", LEFT_OVER, 0),
        (
            "S2: deliveries left over",
            "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')",
            0,
        ),
        ("S2: lanes held", "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL", 0),
        ("S4: sends that the period does not count", UNCOUNTED, 0),
        (
            "S5: sent deliveries that somebody holds",
            "SELECT count(*) FROM deliveries WHERE state = 'sent' AND token IS NOT NULL",
            0,
        ),
        ("S5: people sent to whom totals do not count", UNTOTALLED, 0),
        ("jobs left over", "SELECT count(*) FROM jobs WHERE status IN ('queued', 'processing', 'failed')", 0),
    ] {
        let found = count(sql).await?;
        must(found == expected, format!("{what}: {found} instead of {expected}"));
    }
    let processes = count("SELECT count(*) FROM engine_processes").await?;
    let jobs = count("SELECT count(*) FROM jobs").await?;
    say(&format!("rows_of_engine_processes={processes} rows_of_jobs={jobs}"))?;
    Ok(broken)
}

/// That nobody was written to who left proves nothing where nobody left between two steps, or no second step went out.
async fn s3_without_proof(app: &App, witness: &Witness) -> Result<Option<String>, Error> {
    let left = witness.left();
    let stopped = "SELECT count(*) FROM enrollments WHERE unsubscribed_at IS NOT NULL AND current_step = 1";
    let stopped = app.database.number(stopped).await?;
    let followed = "SELECT count(*) FROM deliveries WHERE position > 1 AND state = 'sent'";
    let followed = app.database.number(followed).await?;
    let seen = format!("left={left} stopped_between_steps={stopped} followed_up={followed}");
    say(&seen)?;
    let proof = left > 0 && stopped > 0 && followed > 0;
    Ok((!proof).then(|| format!("S3 was not looked at: {seen}")))
}

const LEFT_OVER: &str = "SELECT count(*) FROM enrollments WHERE progress NOT IN ('finished', 'uncertain')";
const OVER_THEIR_DAY: &str = "SELECT count(*) FROM credential_days d JOIN smtp_credentials c \
    ON c.id = d.smtp_credential_id WHERE d.first_sends + d.reserved > c.daily_limit";
const UNCOUNTED: &str = "SELECT (SELECT count(*) FROM deliveries WHERE state IN ('sent', 'uncertain')) \
    - (SELECT CAST(coalesce(sum(sends + reserved), 0) AS bigint) FROM account_periods)";
const UNTOTALLED: &str = "SELECT (SELECT count(*) FROM enrollments WHERE sent_at IS NOT NULL) \
    - (SELECT CAST(coalesce(sum(sent), 0) AS bigint) FROM campaign_totals)";
