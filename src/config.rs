//! The settings of `config/<environment>.yaml`, checked at start: a wrong or missing value stops it with one line that
//! names the variable.

mod quoted;
mod stripe;

use std::{net::SocketAddr, path::Path, str::FromStr, time::Duration};

use loco_rs::{config::Config, environment::Environment};
use serde::Deserialize;
use serde_json::Value;

pub use stripe::{PlanPrice, StripeSettings};

use crate::{http::client_ip::TrustedProxies, inbox::poll, mailers::RelaySettings};

/// The highest limit on requests: as good as none.
const MOST_REQUESTS: u32 = 1_000_000_000;

/// RFC 9051 has no time limit for a command; mail programs wait about as long.
const INBOX_PATIENCE: Duration = Duration::from_secs(45);
/// Long enough that signing in anew costs nothing beside what was sent, short enough that nobody waits for minutes: a lane
/// that never pauses would keep its place for as long as it has work, and as many of them as places would starve all others.
const LANE_TURN: Duration = Duration::from_secs(30);

/// What the operator may set, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Base of links in mails, without a trailing slash.
    pub public_url: String,
    /// `MASTER_KEY` as given; empty where the key file is to be used.
    pub master_key: String,
    /// Where the key is made at first start; empty where `MASTER_KEY` is required.
    pub master_key_file: String,
    /// Whether private and loopback addresses may be dialled.
    pub allow_private_networks: bool,
    /// Whether SMTP and IMAP may go without TLS.
    pub allow_plain_mail: bool,
    /// The sending engine.
    pub engine: EngineSettings,
    /// Reading of mailboxes.
    pub inbox: InboxSettings,
    /// Base of `type` in error bodies, without a trailing slash.
    pub error_docs_base: String,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: TrustedProxies,
    /// How often somebody may ask.
    pub limits: LimitSettings,
    /// What Prometheus may read.
    pub metrics: MetricsSettings,
    /// What sends mail to the owners of accounts; without one it is only logged.
    pub relay: Option<RelaySettings>,
    /// Billing, where there is any.
    pub stripe: Option<StripeSettings>,
    /// What the plans that are sold cost.
    pub plan_prices: Vec<PlanPrice>,
}

/// What Prometheus may read, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether the API answers `GET /metrics`.
    pub enabled: bool,
    /// Where a process that only sends answers it.
    pub binding: Option<SocketAddr>,
}

/// How often somebody may ask.
#[derive(Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests of a key in 60 seconds.
    pub per_minute: u32,
    /// Signups from a network in 3600 seconds.
    pub signups_per_hour: u32,
    /// Where nodes share their counts; it may hold a password.
    pub redis_url: Option<String>,
}

impl std::fmt::Debug for LimitSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitSettings")
            .field("per_minute", &self.per_minute)
            .field("signups_per_hour", &self.signups_per_hour)
            .field("redis_url", &self.redis_url.as_ref().map(|_| "…"))
            .finish()
    }
}

/// How mailboxes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxSettings {
    /// How often each is.
    pub poll: Duration,
    /// How long ago one may have been read for a follow-up to go.
    pub fresh: Duration,
    /// How long a server may take to let in, and then for each command. No variable: only tests hurry.
    pub patience: Duration,
    /// Bytes read on one connection after which what is left is read on the next. No variable, as before.
    pub enough: u64,
}

/// How the engine works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Whether `start` runs it in its own process.
    pub embedded: bool,
    /// How many lanes a process sends through at a time.
    pub concurrency: usize,
    /// The most connections of a lane without pauses, where it has much to send.
    pub connections: usize,
    /// How often loops look for work when nothing rings.
    pub poll: Duration,
    /// How long a process may be silent before what it holds is void.
    pub dead_after: Duration,
    /// Whether messages go out as chunks (RFC 3030) where the mail server offers that.
    pub chunking: bool,
    /// How long to wait for the reply to the final dot.
    pub final_reply: Duration,
    /// How long a stopping process may take to finish what is marked.
    pub shutdown: Duration,
    /// How long a lane without pauses may work while others wait. No variable: only tests hurry.
    pub turn: Duration,
}

impl EngineSettings {
    /// How long the database may say nothing: by then others may have declared this process dead.
    pub const fn patience(&self) -> Duration {
        self.dead_after.saturating_mul(2)
    }
}

/// The section `settings`, all as text so that a wrong value can be named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    public_url: String,
    master_key: String,
    master_key_file: String,
    allow_private_networks: String,
    allow_plain_mail: String,
    engine_embedded: String,
    engine_concurrency: String,
    engine_connections: String,
    engine_poll_ms: String,
    engine_dead_after_seconds: String,
    smtp_chunking: String,
    smtp_final_reply_seconds: String,
    shutdown_seconds: String,
    inbox_poll_seconds: String,
    inbox_fresh_seconds: String,
    error_docs_base: String,
    trusted_proxies: String,
    rate_limit_per_minute: String,
    signups_per_hour: String,
    redis_url: String,
    metrics: String,
    metrics_binding: String,
    system_smtp_url: String,
    system_mail_from: String,
    stripe_secret_key: String,
    stripe_webhook_secret: String,
    stripe_api_base: String,
    stripe_price_hobby: String,
    stripe_price_pro: String,
    stripe_price_scale: String,
    billing_return_url: String,
}

impl std::fmt::Debug for Raw {
    /// It holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

/// A value that stops the start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    /// The environment variable at fault.
    pub variable: &'static str,
    /// What is wrong with it, and what is expected.
    pub problem: String,
}

impl ConfigError {
    /// A complaint about `variable`.
    pub fn new(variable: &'static str, problem: impl Into<String>) -> Self {
        Self { variable, problem: problem.into() }
    }
}

/// Folds the section `settings` into one text, which [`Settings::from_config`] reads as well. Loco clones its context, and
/// the configuration in it, several times for each request: as a tree it took a fifth of the time of a small one.
pub fn fold_settings(config: &mut Config) {
    if let Some(section @ Value::Object(_)) = &config.settings {
        config.settings = Some(Value::String(section.to_string()));
    }
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Names the first variable that is wrong or missing.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let raw = match &config.settings {
            Some(Value::String(folded)) => serde_json::from_str(folded),
            Some(section) => Raw::deserialize(section),
            None => Raw::deserialize(&Value::Null),
        };
        let raw = raw.map_err(|error| {
            ConfigError::new("config", format!("has a wrong section `settings`: {error}"))
        })?;
        check_database(&config.database.uri)?;
        let public_url = match raw.public_url.trim() {
            "" => format!("http://localhost:{}", config.server.port),
            given => web_address("PUBLIC_URL", given)?,
        };
        if raw.master_key.is_empty() && raw.master_key_file.is_empty() {
            return Err(ConfigError::new(
                "MASTER_KEY",
                "is missing: 32 random bytes in base64 are needed here",
            ));
        }
        Ok(Self {
            stripe: stripe::parse(&raw, &public_url)?,
            plan_prices: stripe::prices(&raw)?,
            public_url,
            master_key: raw.master_key,
            master_key_file: raw.master_key_file,
            allow_private_networks: switch("ALLOW_PRIVATE_NETWORKS", &raw.allow_private_networks)?,
            allow_plain_mail: switch("ALLOW_PLAIN_MAIL", &raw.allow_plain_mail)?,
            engine: EngineSettings {
                embedded: switch("ENGINE_EMBEDDED", &raw.engine_embedded)?,
                concurrency: number("ENGINE_CONCURRENCY", &raw.engine_concurrency, 1, 10_000)?,
                connections: number("ENGINE_CONNECTIONS", &raw.engine_connections, 1, 100)?,
                poll: Duration::from_millis(number("ENGINE_POLL_MS", &raw.engine_poll_ms, 10, 60_000)?),
                dead_after: seconds("ENGINE_DEAD_AFTER_SECONDS", &raw.engine_dead_after_seconds, 2, 3_600)?,
                chunking: switch("SMTP_CHUNKING", &raw.smtp_chunking)?,
                final_reply: seconds("SMTP_FINAL_REPLY_SECONDS", &raw.smtp_final_reply_seconds, 1, 3_600)?,
                shutdown: seconds("SHUTDOWN_SECONDS", &raw.shutdown_seconds, 1, 3_600)?,
                turn: LANE_TURN,
            },
            inbox: InboxSettings {
                poll: seconds("INBOX_POLL_SECONDS", &raw.inbox_poll_seconds, 1, 86_400)?,
                patience: INBOX_PATIENCE,
                enough: poll::ENOUGH,
                fresh: seconds("INBOX_FRESH_SECONDS", &raw.inbox_fresh_seconds, 1, 604_800)?,
            },
            error_docs_base: web_address("ERROR_DOCS_BASE", &raw.error_docs_base)?,
            trusted_proxies: proxies("TRUSTED_PROXIES", &raw.trusted_proxies)?,
            metrics: MetricsSettings {
                enabled: switch("METRICS", &raw.metrics)?,
                binding: address("METRICS_BINDING", &raw.metrics_binding)?,
            },
            relay: RelaySettings::parse(&raw.system_smtp_url, &raw.system_mail_from)
                .map_err(|(variable, problem)| ConfigError::new(variable, problem))?,
            limits: LimitSettings {
                per_minute: number("RATE_LIMIT_PER_MINUTE", &raw.rate_limit_per_minute, 1, MOST_REQUESTS)?,
                signups_per_hour: number("SIGNUPS_PER_HOUR", &raw.signups_per_hour, 1, MOST_REQUESTS)?,
                redis_url: Some(raw.redis_url).filter(|url| !url.is_empty()),
            },
        })
    }
}

fn check_database(uri: &str) -> Result<(), ConfigError> {
    if uri.is_empty() {
        return Err(ConfigError::new(
            "DATABASE_URL",
            "is missing: sqlite://… or postgres://… is needed here",
        ));
    }
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| uri.starts_with(scheme));
    if known {
        Ok(())
    } else {
        Err(ConfigError::new("DATABASE_URL", "must begin with sqlite:// or postgres://"))
    }
}

fn switch(variable: &'static str, text: &str) -> Result<bool, ConfigError> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(ConfigError::new(variable, format!("must be true or false, not \"{text}\""))),
    }
}

fn number<T>(variable: &'static str, text: &str, least: T, most: T) -> Result<T, ConfigError>
where
    T: Copy + FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        _ => Err(ConfigError::new(
            variable,
            format!("must be a whole number from {least} to {most}, not \"{text}\""),
        )),
    }
}

fn seconds(variable: &'static str, text: &str, least: u64, most: u64) -> Result<Duration, ConfigError> {
    number(variable, text, least, most).map(Duration::from_secs)
}

fn proxies(variable: &'static str, text: &str) -> Result<TrustedProxies, ConfigError> {
    TrustedProxies::parse(text).map_err(|part| {
        ConfigError::new(variable, format!("must list addresses and CIDR blocks, and \"{part}\" is neither"))
    })
}

fn address(variable: &'static str, text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| ConfigError::new(variable, format!("must be ADDRESS:PORT, not \"{text}\""));
    text.parse().map(Some).map_err(wrong)
}

fn web_address(variable: &'static str, text: &str) -> Result<String, ConfigError> {
    let uri = text.parse::<axum::http::Uri>().ok();
    let whole = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    match whole {
        Some(uri) if uri.query().is_none() => Ok(text.trim_end_matches('/').to_owned()),
        _ => {
            Err(ConfigError::new(variable, format!("must be an http:// or https:// address, not \"{text}\"")))
        }
    }
}

/// Reads the file of the environment. `PORT` is looked at first because the file's parser would not name it, and the
/// directory of an SQLite file is made, so that a first start needs nothing.
///
/// # Errors
/// One line that says what is wrong.
#[expect(clippy::disallowed_methods, reason = "settings are read here")]
pub fn load(environment: &Environment) -> loco_rs::Result<Config> {
    if let Ok(port) = std::env::var("PORT") {
        number::<u16>("PORT", &port, 1, u16::MAX)
            .map_err(|error| loco_rs::Error::Message(error.to_string()))?;
    }
    quoted::check().map_err(|error| loco_rs::Error::Message(error.to_string()))?;
    let config = environment.load()?;
    // Before anything connects: the driver would not name the variable.
    check_database(&config.database.uri).map_err(|error| loco_rs::Error::Message(error.to_string()))?;
    let file = config.database.uri.strip_prefix("sqlite://").and_then(|rest| rest.split('?').next());
    if let Some(directory) =
        file.and_then(|file| Path::new(file).parent()).filter(|path| !path.as_os_str().is_empty())
    {
        std::fs::create_dir_all(directory)?;
    }
    Ok(config)
}
