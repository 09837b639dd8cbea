//! `doctor`: whether this installation can work, check by check, without changing anything: a database that is not
//! migrated stays as it is.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use loco_rs::{Result, app::AppContext, environment::Environment};
use migration::{Migrator, MigratorTrait};
use sea_orm::DbBackend;
use serde::Serialize;

use super::{
    arguments::{Arguments, Manual},
    operation::{Operation, look},
    report::Report,
};
use crate::{
    billing::Stripe,
    clock::Timestamp,
    config::Settings,
    crypto::Sealer,
    db::clock_sql,
    engine,
    http::rate_limit::Store,
    mailers::Relay,
    models::app_keys,
    net::{DialPolicy, Dialer, HttpClient},
    state,
    tenancy::SystemScope,
};

/// How long a check may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Clocks that differ by more let an import look newer than its campaign.
const CLOCK_WARNS: i64 = 2_000_000;
/// Clocks that differ by more send follow-ups and count days at the wrong time.
const CLOCK_FAILS: i64 = 60_000_000;

/// Checks.
pub(super) struct Doctor;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Ok,
    /// It works, and yet somebody should look.
    Warn,
    Fail,
}

use Finding::{Fail, Ok as Fine, Warn};

/// A finding and what it is about.
type Found = (Finding, String);

#[derive(Serialize)]
struct Check {
    check: &'static str,
    finding: Finding,
    detail: String,
}

#[async_trait]
impl Operation for Doctor {
    const MANUAL: Manual = Manual {
        name: "doctor",
        detail: "Check configuration, database, migrations, keys, clocks, engine, Redis, Stripe, system mail, public address",
        arguments: &[],
    };

    async fn perform(ctx: &AppContext, _given: &Arguments<'_>) -> Result<Report> {
        let settings =
            Settings::from_config(&ctx.config).map_err(|error| loco_rs::Error::Message(error.to_string()))?;
        let system = look(ctx);
        let checks = [
            ("configuration", configuration(ctx, &settings)),
            ("database", within(database(&system)).await),
            ("migrations", within(migrations(ctx)).await),
            ("master key", within(master_key(&system, &settings)).await),
            ("clock", within(clock(&system)).await),
            ("engine", within(engine_alive(ctx, &settings)).await),
            ("redis", within(redis(&settings)).await),
            ("stripe", within(stripe(&settings)).await),
            ("system mail", within(system_mail(&settings)).await),
            ("public url", within(public_url(&settings)).await),
        ]
        .map(|(check, (finding, detail))| Check { check, finding, detail });
        let failed = checks.iter().filter(|it| it.finding == Fail).count();
        let report = Report::of(&checks)?;
        Ok(if failed == 0 {
            report
        } else {
            report.failing(format!("doctor: {failed} of {} checks failed", checks.len()))
        })
    }
}

async fn within(check: impl Future<Output = Found>) -> Found {
    let late = |_| (Fail, format!("no answer within {} s", WITHIN.as_secs()));
    tokio::time::timeout(WITHIN, check).await.unwrap_or_else(late)
}

/// What is permitted and yet hardly meant where strangers have accounts.
fn configuration(ctx: &AppContext, settings: &Settings) -> Found {
    let production = ctx.environment == Environment::Production;
    let doubts = [
        (settings.allow_private_networks, "ALLOW_PRIVATE_NETWORKS lets accounts dial this network"),
        (settings.allow_plain_mail, "ALLOW_PLAIN_MAIL lets passwords go in clear"),
        (!settings.public_url.starts_with("https://"), "PUBLIC_URL is no https:// address"),
    ];
    let (mut finding, mut detail) = (Fine, format!("{} environment", ctx.environment));
    for (_, doubt) in doubts.into_iter().filter(|(doubtful, _)| production && *doubtful) {
        finding = Warn;
        detail.push_str("; ");
        detail.push_str(doubt);
    }
    (finding, detail)
}

async fn database(system: &SystemScope) -> Found {
    let sql = match system.backend() {
        DbBackend::Postgres => "SELECT 'PostgreSQL ' || current_setting('server_version') AS version",
        DbBackend::Sqlite | DbBackend::MySql | _ => "SELECT 'SQLite ' || sqlite_version() AS version",
    };
    match system
        .query_one(sql, [])
        .await
        .and_then(|row| row.map(|row| row.try_get("", "version")).transpose())
    {
        Ok(version) => (Fine, version.unwrap_or_default()),
        Err(error) => (Fail, error.to_string()),
    }
}

async fn migrations(ctx: &AppContext) -> Found {
    match Migrator::get_pending_migrations(&ctx.db).await {
        Ok(pending) if pending.is_empty() => (Fine, "the schema is up to date".to_owned()),
        Ok(pending) => (Warn, format!("{} to be run, by `db migrate` or the next start", pending.len())),
        Err(error) => (Fail, error.to_string()),
    }
}

/// Whether the configured keys open what is sealed in the database. No key is made here.
async fn master_key(system: &SystemScope, settings: &Settings) -> Found {
    if settings.master_key.is_empty() && !Path::new(&settings.master_key_file).exists() {
        return (Warn, format!("{} will be made at the first start", settings.master_key_file));
    }
    let sealer = match state::master_keys(settings) {
        Ok(keys) => Sealer::new(keys),
        Err(error) => return (Fail, error.to_string()),
    };
    match app_keys::find(system, &sealer, app_keys::LINKS).await {
        Ok(Some(_)) => (Fine, "it opens the keys in this database".to_owned()),
        Ok(None) => (Warn, "nothing is sealed yet".to_owned()),
        Err(error) => (Fail, error.to_string()),
    }
}

/// The database's clock, by which processes are alive, against ours, by which mails are due.
async fn clock(system: &SystemScope) -> Found {
    let sql = format!("SELECT {} AS now", clock_sql(system.backend()));
    let asked = Timestamp::now();
    let answered = system.query_one(&sql, []).await;
    let ours = i64::midpoint(asked.micros(), Timestamp::now().micros());
    match answered.and_then(|row| row.map(|row| row.try_get::<i64>("", "now")).transpose()) {
        Ok(theirs) => {
            let apart = theirs.unwrap_or_default() - ours;
            let finding = match apart.abs() {
                CLOCK_FAILS.. => Fail,
                CLOCK_WARNS.. => Warn,
                _ => Fine,
            };
            (finding, format!("the database's is {} ms from this machine's", apart / 1_000))
        }
        Err(error) => (Fail, error.to_string()),
    }
}

async fn engine_alive(ctx: &AppContext, settings: &Settings) -> Found {
    match engine::count_alive(&ctx.db, settings.engine.dead_after).await {
        Ok(0) => (Warn, "no engine process is alive: nothing is sent".to_owned()),
        Ok(alive) => (Fine, format!("{alive} alive")),
        Err(error) => (Fail, error.to_string()),
    }
}

async fn redis(settings: &Settings) -> Found {
    let Some(url) = &settings.limits.redis_url else {
        return (Fine, "not configured: each process counts requests for itself".to_owned());
    };
    match Store::open(url) {
        Ok(store) => match store.ping().await {
            Ok(()) => (Fine, "it answers".to_owned()),
            Err(error) => (Fail, error.to_string()),
        },
        Err(error) => (Fail, error.to_string()),
    }
}

/// Whether Stripe answers to our key, and could tell us of what changes.
async fn stripe(settings: &Settings) -> Found {
    let Some(stripe) = &settings.stripe else {
        return (Fine, "not configured: nobody pays".to_owned());
    };
    let client = match Stripe::new(stripe) {
        Ok(client) => client,
        Err(error) => return (Fail, error.to_string()),
    };
    match client.subscriptions(None).await {
        Ok(_) if stripe.webhook_secrets.is_empty() => {
            (Warn, "it answers, and without STRIPE_WEBHOOK_SECRET its events are refused".to_owned())
        }
        Ok(_) => (Fine, "it answers".to_owned()),
        Err(error) => (Fail, error.to_string()),
    }
}

/// Whether the server for mail to owners takes us. It is handed no mail.
async fn system_mail(settings: &Settings) -> Found {
    let Some(known) = &settings.relay else {
        return (Fine, "not configured: mail to owners is in the log".to_owned());
    };
    let relay = match Relay::new(known, settings.allow_plain_mail) {
        Ok(relay) => relay,
        Err(error) => return (Fail, error.to_string()),
    };
    match relay.check().await {
        Ok(()) if known.logs_in() => (Fine, "it answers, and takes the login".to_owned()),
        Ok(()) => (Fine, "it answers".to_owned()),
        Err(error) => (Fail, error.to_string()),
    }
}

/// Whether the address that stands in mails leads to a server that answers. It may be an internal one here.
async fn public_url(settings: &Settings) -> Found {
    let url = format!("{}/status", settings.public_url);
    let policy = DialPolicy { allow_private: true, allow_plain_mail: true };
    let client = match Dialer::new(policy) {
        Ok(dialer) => HttpClient::new(dialer),
        Err(error) => return (Fail, error.to_string()),
    };
    match client.get(&url, WITHIN).await {
        Ok(answer) if answer.status == 200 => (Fine, format!("{url} answers")),
        Ok(answer) => (Fail, format!("{url} answers with status {}", answer.status)),
        Err(error) => (Fail, format!("{url}: {error}")),
    }
}
