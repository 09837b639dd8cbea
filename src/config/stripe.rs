//! The settings of billing: Stripe's keys, where it is reached, and what the plans cost. What is said about a wrong
//! secret never repeats it.

use super::{ConfigError, Raw, web_address};

/// How Stripe is used, where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct StripeSettings {
    /// `STRIPE_SECRET_KEY`.
    pub secret_key: String,
    /// What signs Stripe's events: one secret, or several while they are being exchanged.
    pub webhook_secrets: Vec<String>,
    /// Where Stripe is reached, without `/v1` and without a trailing slash; Stripe itself where it is not set.
    pub api_base: Option<String>,
    /// Where Stripe's pages lead back to.
    pub return_url: String,
}

impl std::fmt::Debug for StripeSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StripeSettings")
            .field("secret_key", &"…")
            .field("webhook_secrets", &self.webhook_secrets.len())
            .field("api_base", &self.api_base)
            .field("return_url", &self.return_url)
            .finish()
    }
}

/// A plan's slug and its price, where it has one.
pub type PlanPrice = (&'static str, Option<String>);

/// Reads them; no settings where there is no secret key.
pub(super) fn parse(raw: &Raw, public_url: &str) -> Result<Option<StripeSettings>, ConfigError> {
    let secret_key = secret("STRIPE_SECRET_KEY", &raw.stripe_secret_key)?;
    let webhook_secrets = raw
        .stripe_webhook_secret
        .split(',')
        .map(|one| secret("STRIPE_WEBHOOK_SECRET", one.trim()))
        .filter_map(Result::transpose)
        .collect::<Result<Vec<_>, _>>()?;
    let api_base = match raw.stripe_api_base.trim() {
        "" => None,
        given => Some(web_address("STRIPE_API_BASE", given)?),
    };
    if let Some(base) = api_base.as_deref().filter(|base| base.ends_with("/v1")) {
        return Err(ConfigError::new(
            "STRIPE_API_BASE",
            format!("must be given without /v1, not \"{base}\""),
        ));
    }
    let return_url = match raw.billing_return_url.trim() {
        "" => public_url.to_owned(),
        given => web_address("BILLING_RETURN_URL", given)?,
    };
    Ok(secret_key.map(|secret_key| StripeSettings { secret_key, webhook_secrets, api_base, return_url }))
}

/// What the plans that are sold cost. Two plans for one price could not be told apart.
pub(super) fn prices(raw: &Raw) -> Result<Vec<PlanPrice>, ConfigError> {
    let given = [
        ("hobby", "STRIPE_PRICE_HOBBY", &raw.stripe_price_hobby),
        ("pro", "STRIPE_PRICE_PRO", &raw.stripe_price_pro),
        ("scale", "STRIPE_PRICE_SCALE", &raw.stripe_price_scale),
    ];
    let mut prices: Vec<PlanPrice> = Vec::new();
    for (slug, variable, text) in given {
        let price = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(price) = &price {
            if !price.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ConfigError::new(
                    variable,
                    format!("must be the id of a price, not \"{price}\""),
                ));
            }
            if prices.iter().any(|(_, other)| other.as_ref() == Some(price)) {
                return Err(ConfigError::new(
                    variable,
                    format!("is the price of another plan too: \"{price}\""),
                ));
            }
        }
        prices.push((slug, price));
    }
    Ok(prices)
}

fn secret(variable: &'static str, text: &str) -> Result<Option<String>, ConfigError> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    } else {
        Err(ConfigError::new(variable, "must be a key of visible ASCII characters, without spaces"))
    }
}
