//! The settings: every environment's file is read, every wrong or missing variable stops the start with one line that
//! names it, and nothing unknown is let through.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use ampout::{
    app::App,
    config::{ConfigError, Settings},
};
use loco_rs::{app::Hooks, config::Config, environment::Environment};
use serde_json::{Value, json};
use testkit::child::{Builder, Child};

const ENVIRONMENTS: [&str; 3] = ["development", "test", "production"];

/// A value of each variable that cannot be meant.
const WRONG: [(&str, &str); 29] = [
    ("PUBLIC_URL", "example.com"),
    ("PUBLIC_URL", "ftp://example.com"),
    ("ALLOW_PRIVATE_NETWORKS", "maybe"),
    ("ALLOW_PLAIN_MAIL", ""),
    ("ENGINE_EMBEDDED", "TRUE!"),
    ("ENGINE_CONCURRENCY", "0"),
    ("ENGINE_CONNECTIONS", "101"),
    ("ENGINE_POLL_MS", "1.5"),
    ("ENGINE_DEAD_AFTER_SECONDS", "1"),
    ("SMTP_CHUNKING", "BDAT"),
    ("SMTP_FINAL_REPLY_SECONDS", "-1"),
    ("SHUTDOWN_SECONDS", "3601"),
    ("SHUTDOWN_SECONDS", "soon"),
    ("INBOX_POLL_SECONDS", "0"),
    ("INBOX_FRESH_SECONDS", "soon"),
    ("ERROR_DOCS_BASE", "https://docs.example.com/?page=1"),
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("RATE_LIMIT_PER_MINUTE", "0"),
    ("SIGNUPS_PER_HOUR", "many"),
    ("SIGNUPS_PER_HOUR", "1000000001"),
    ("METRICS", "prometheus"),
    ("METRICS_BINDING", "9464"),
    ("METRICS_BINDING", "localhost:9464"),
    ("STRIPE_API_BASE", "stripe"),
    ("STRIPE_API_BASE", "https://api.stripe.com/v1"),
    ("STRIPE_PRICE_PRO", "price pro"),
    ("BILLING_RETURN_URL", "app.example.com"),
    ("BILLING_RETURN_URL", "https://app.example.com/?a=b"),
];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config"))
}

async fn test_config() -> Config {
    App::load_config(&Environment::Test).await.unwrap()
}

fn with(mut config: Config, setting: &str, value: &str) -> Result<Settings, ConfigError> {
    config.settings.as_mut().unwrap()[setting] = json!(value);
    Settings::from_config(&config)
}

/// The variables that a file reads, with the settings that it makes of them.
fn variables(environment: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join(format!("{environment}.yaml"))).unwrap();
    let names = text.split("get_env(name=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn the_settings_of_this_environment_are_taken() {
    let settings = Settings::from_config(&test_config().await).unwrap();
    assert_eq!(settings.error_docs_base, "https://docs.ampout.dev/errors");
    assert_eq!(settings.engine.dead_after, Duration::from_secs(30));
    assert_eq!(settings.engine.concurrency, 64);
    assert!(settings.allow_private_networks && settings.allow_plain_mail && !settings.engine.embedded);
}

#[tokio::test]
async fn a_wrong_value_is_named_in_one_line() {
    for (variable, value) in WRONG {
        let config = test_config().await;
        let refused = with(config, &variable.to_lowercase(), value).expect_err(variable);
        assert_eq!(refused.variable, variable);
        let line = refused.to_string();
        assert!(line.starts_with(variable) && !line.contains('\n'), "{line}");
        assert!(value.is_empty() || line.contains(value), "{line}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_named_and_not_repeated() {
    for (variable, value) in
        [("STRIPE_SECRET_KEY", "sk_test key"), ("STRIPE_WEBHOOK_SECRET", "whsec_a,whsec b")]
    {
        let refused = with(test_config().await, &variable.to_lowercase(), value).expect_err(variable);
        assert_eq!(refused.variable, variable);
        assert!(
            !refused.to_string().contains("key\"") && !refused.to_string().contains("whsec"),
            "{refused}"
        );
    }
    let mut config = test_config().await;
    config.settings.as_mut().unwrap()["stripe_webhook_secret"] = json!("whsec_one, whsec_two");
    let settings = with(config, "stripe_secret_key", "sk_test_hidden").unwrap();
    assert_eq!(settings.stripe.as_ref().unwrap().webhook_secrets, ["whsec_one", "whsec_two"]);
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hidden") && !shown.contains("whsec"), "{shown}");
}

#[tokio::test]
async fn two_plans_cannot_have_one_price() {
    let mut config = test_config().await;
    config.settings.as_mut().unwrap()["stripe_price_hobby"] = json!("price_1");
    assert_eq!(with(config, "stripe_price_scale", "price_1").unwrap_err().variable, "STRIPE_PRICE_SCALE");
}

#[tokio::test]
async fn a_missing_value_is_named() {
    let mut config = test_config().await;
    config.database.uri = String::new();
    assert_eq!(Settings::from_config(&config).unwrap_err().variable, "DATABASE_URL");
    config.database.uri = "mysql://localhost/x".into();
    assert_eq!(Settings::from_config(&config).unwrap_err().variable, "DATABASE_URL");
    let mut config = test_config().await;
    config.settings.as_mut().unwrap()["master_key_file"] = json!("");
    assert_eq!(with(config, "master_key", "").unwrap_err().variable, "MASTER_KEY");
}

#[tokio::test]
async fn an_unknown_or_absent_setting_is_refused_by_name() {
    let line = with(test_config().await, "engine_concurency", "64").unwrap_err().to_string();
    assert!(line.contains("engine_concurency") && !line.contains('\n'), "{line}");
    let names: Vec<String> = {
        let settings = test_config().await.settings.unwrap();
        settings.as_object().unwrap().keys().cloned().collect()
    };
    for name in names {
        let mut config = test_config().await;
        config.settings.as_mut().unwrap().as_object_mut().unwrap().remove(&name);
        let line = Settings::from_config(&config).expect_err(&name).to_string();
        assert!(line.contains(&name) && !line.contains('\n'), "{line}");
    }
    let mut config = test_config().await;
    config.settings = Some(Value::Null);
    assert!(Settings::from_config(&config).is_err());
}

#[test]
fn every_environment_reads_the_same_variables() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, ENVIRONMENTS.map(|name| format!("{name}.yaml")).into());
    let expected = variables("production");
    assert!(expected.len() >= 15, "{expected:?}");
    for environment in ENVIRONMENTS {
        assert_eq!(variables(environment), expected, "{environment}");
    }
}

/// The program in an environment, in an empty directory of its own.
fn program(environment: &str) -> Builder {
    Child::builder(env!("CARGO_BIN_EXE_ampout"))
        .unwrap()
        .env("LOCO_CONFIG_FOLDER", folder())
        .env("LOCO_ENV", environment)
        .env("DATABASE_URL", "sqlite://data/it.sqlite?mode=rwc")
        .env("MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .args(["routes"])
}

/// Whether it ended well, and what it wrote.
async fn run(program: &Builder) -> (bool, String) {
    let mut child = program.start().unwrap();
    let status = child.wait(Duration::from_secs(60)).await.unwrap();
    (status.success(), child.output())
}

#[tokio::test]
async fn every_environment_starts_with_its_variables_set() {
    for environment in ENVIRONMENTS {
        let (well, output) = run(&program(environment)).await;
        assert!(well && output.contains("/campaigns"), "{environment}: {output}");
    }
}

#[tokio::test]
async fn production_does_not_start_without_its_key_and_its_database() {
    for (variable, value) in [
        ("MASTER_KEY", ""),
        ("DATABASE_URL", ""),
        ("PORT", "99999"),
        ("SHUTDOWN_SECONDS", "x"),
        ("DATABASE_URL", "sqlite://a\"b.sqlite3"),
        ("REDIS_URL", "redis://:pass\\word@127.0.0.1"),
        ("SYSTEM_SMTP_URL", "mail.example.com"),
        ("SYSTEM_MAIL_FROM", "\"Ampout\" <a@example.com>"),
    ] {
        let (well, output) = run(&program("production").env(variable, value)).await;
        assert!(!well, "{variable}: {output}");
        let naming = output.lines().filter(|line| line.contains(variable)).count();
        assert!(naming >= 1, "{variable} is not named: {output}");
        assert!(!output.contains("panicked"), "{output}");
    }
}
