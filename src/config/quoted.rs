//! The variables that stand between quotes in `config/*.yaml`: their values are put in as they are, so that one which ends
//! the quotes would break the file, and the error would name no variable.

use super::ConfigError;

/// All of them, in all files.
const QUOTED: [&str; 31] = [
    "ALLOW_PLAIN_MAIL",
    "ALLOW_PRIVATE_NETWORKS",
    "BILLING_RETURN_URL",
    "DATABASE_URL",
    "ENGINE_CONCURRENCY",
    "ENGINE_CONNECTIONS",
    "ENGINE_DEAD_AFTER_SECONDS",
    "ENGINE_EMBEDDED",
    "ENGINE_POLL_MS",
    "ERROR_DOCS_BASE",
    "INBOX_FRESH_SECONDS",
    "INBOX_POLL_SECONDS",
    "MASTER_KEY",
    "METRICS",
    "METRICS_BINDING",
    "PUBLIC_URL",
    "RATE_LIMIT_PER_MINUTE",
    "REDIS_URL",
    "SHUTDOWN_SECONDS",
    "SIGNUPS_PER_HOUR",
    "SMTP_CHUNKING",
    "SMTP_FINAL_REPLY_SECONDS",
    "STRIPE_API_BASE",
    "STRIPE_PRICE_HOBBY",
    "STRIPE_PRICE_PRO",
    "STRIPE_PRICE_SCALE",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "SYSTEM_MAIL_FROM",
    "SYSTEM_SMTP_URL",
    "TRUSTED_PROXIES",
];

/// Refuses values that do not stay between their quotes.
pub(super) fn check() -> Result<(), ConfigError> {
    let breaks = |variable: &&&str| {
        std::env::var_os(variable)
            .is_some_and(|value| value.to_str().is_none_or(|text| text.contains(['"', '\\', '\n'])))
    };
    let problem = "must be UTF-8 without a quotation mark, backslash or line break";
    QUOTED.iter().find(breaks).map_or(Ok(()), |variable| Err(ConfigError::new(variable, problem)))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn every_variable_between_quotes_in_the_files_is_checked() -> std::io::Result<()> {
        let mut quoted = BTreeSet::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for file in std::fs::read_dir(folder)? {
            let text = std::fs::read_to_string(file?.path())?;
            let named = text.split("\"<%= get_env(name=\"").skip(1).filter_map(|rest| rest.split('"').next());
            quoted.extend(named.map(str::to_owned));
        }
        assert_eq!(quoted, QUOTED.iter().map(|name| (*name).to_owned()).collect());
        Ok(())
    }
}
