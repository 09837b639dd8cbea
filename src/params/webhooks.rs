//! Bodies of `webhooks`. Whether the endpoint is internal is looked up before the transaction begins.

use serde::Deserialize;
use serde_json::Value;

use super::hosts::Hosts;
use crate::{
    errors::{ApiResult, Failures, Reason},
    http::{
        Prepare,
        json::{double_option, object},
    },
    models::{
        WebhookUrl,
        webhooks::{Filters, WebhookChanges},
    },
    net::Dialer,
    state::AppState,
};

/// `{"webhook": {…}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body<T: for<'a> Deserialize<'a>> {
    #[serde(deserialize_with = "object")]
    webhook: T,
}

/// A webhook to be made, as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    url: Option<String>,
    event_filters: Option<Vec<String>>,
}

impl Prepare for Body<NewWebhook> {
    type Ready = ApiResult<(WebhookUrl, Filters)>;

    async fn prepare(self, state: &AppState) -> Self::Ready {
        let NewWebhook { url, event_filters } = self.webhook;
        let mut failures = Failures::new();
        let url = check_url(&mut failures, &state.dialer, url.as_deref()).await;
        let filters = match event_filters {
            None => Some(Filters::All),
            Some(words) => failures.parsed("event_filters", Filters::parse(&words)),
        };
        failures.finish(url.zip(filters))
    }
}

/// Fields of a webhook to be changed, as they came.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
pub struct Changes {
    #[serde(deserialize_with = "double_option")]
    url: Option<Option<String>>,
    #[serde(deserialize_with = "double_option")]
    event_filters: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "double_option")]
    disabled_at: Option<Option<Value>>,
}

impl Prepare for Body<Changes> {
    type Ready = ApiResult<WebhookChanges>;

    async fn prepare(self, state: &AppState) -> Self::Ready {
        let Changes { url, event_filters, disabled_at } = self.webhook;
        let mut failures = Failures::new();
        let url = match url {
            Some(url) => check_url(&mut failures, &state.dialer, url.as_deref()).await,
            None => None,
        };
        let filters = event_filters
            .and_then(|words| failures.parsed("event_filters", Filters::parse(&words.unwrap_or_default())));
        if let Some(Some(_)) = disabled_at {
            failures.add("disabled_at", Reason::Other("can only be set to null".into()));
        }
        failures.finish(Some(WebhookChanges { url, filters, enable: disabled_at.is_some() }))
    }
}

async fn check_url(failures: &mut Failures, dialer: &Dialer, given: Option<&str>) -> Option<WebhookUrl> {
    let url = failures.parsed("url", WebhookUrl::parse(given.unwrap_or_default()))?;
    let host = url.host();
    let hosts = Hosts::look_up(dialer, std::iter::once(Some(host.as_str()))).await;
    if hosts.is_internal(&host) {
        failures.add("url", Reason::Other("must not be at an internal address".into()));
        return None;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::net::{DialPolicy, resolve::SystemDns};

    async fn refusal(allow_private: bool, url: &str) -> Option<String> {
        let policy = DialPolicy { allow_private, allow_plain_mail: false };
        let dialer = Dialer::with(policy, std::sync::Arc::new(SystemDns::new().unwrap()), &[]).unwrap();
        let mut failures = Failures::new();
        let checked = check_url(&mut failures, &dialer, Some(url)).await;
        failures.finish(checked).err().map(|error| error.message.into_owned())
    }

    #[tokio::test]
    async fn an_internal_endpoint_is_refused_in_any_spelling_unless_the_operator_allows_it() {
        let message = Some("Url must not be at an internal address".to_owned());
        for url in [
            "http://127.0.0.1:5150/",
            "http://0x7f.1/",
            "http://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/hook",
            "http://169.254.169.254/latest/meta-data/",
            "http://localhost/",
            "http://db.localhost./",
        ] {
            assert_eq!(refusal(false, url).await, message, "{url}");
            assert_eq!(refusal(true, url).await, None, "{url}");
        }
    }
}
