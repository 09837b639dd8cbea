//! One attempt: a signed POST, and what became of it.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::schedule;
use crate::{
    clock::Timestamp,
    crypto::WebhookSecret,
    metrics,
    net::{DialError, HttpClient, HttpError},
};

/// How long an endpoint has to answer, from the first look at its name.
pub const WITHIN: Duration = Duration::from_secs(15);
/// The endpoint is gone for good and wants to hear nothing more.
const GONE: i32 = 410;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The status, where there was one.
    pub status_code: Option<i32>,
    /// What was wrong: one of a closed list of words. `None`: the endpoint took it.
    pub error: Option<&'static str>,
    /// How long the endpoint wants to be left alone.
    pub retry_after: Option<Duration>,
    /// How long it took.
    pub duration: Duration,
    /// When it began.
    pub began: Timestamp,
}

impl Attempted {
    /// Whether the endpoint took it.
    pub const fn succeeded(&self) -> bool {
        self.error.is_none()
    }

    /// Whether the endpoint said that it is gone for good.
    pub fn is_gone(&self) -> bool {
        self.status_code == Some(GONE)
    }

    /// Milliseconds, as they are stored.
    pub fn duration_ms(&self) -> i64 {
        i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Sends a delivery to an endpoint. Never fails: what went wrong is the result.
pub async fn attempt(
    client: &HttpClient,
    url: &str,
    secret: &WebhookSecret,
    delivery_id: Uuid,
    payload: Bytes,
) -> Attempted {
    let began = Timestamp::now();
    let clock = tokio::time::Instant::now();
    let id = delivery_id.to_string();
    let (timestamp, signature) = (began.seconds().to_string(), secret.sign(&id, began.seconds(), &payload));
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", concat!("Ampout-Webhooks/", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", &id),
        ("webhook-timestamp", &timestamp),
        ("webhook-signature", &signature),
    ];
    let answer = client.post(url, &headers, payload, WITHIN).await;
    let duration = clock.elapsed();
    let attempted = match answer {
        Ok(answer) => Attempted {
            status_code: Some(i32::from(answer.status)),
            error: word_of_status(answer.status),
            retry_after: answer
                .retry_after
                .and_then(|value| schedule::retry_after(&value, began.plus(duration))),
            duration,
            began,
        },
        Err(error) => {
            Attempted { status_code: None, error: Some(word(error)), retry_after: None, duration, began }
        }
    };
    metrics::webhook_attempted(if attempted.succeeded() { "delivered" } else { "failed" });
    attempted
}

const fn word_of_status(status: u16) -> Option<&'static str> {
    match status {
        200..=299 => None,
        300..=399 => Some("redirect"),
        _ => Some("http_status"),
    }
}

const fn word(error: HttpError) -> &'static str {
    match error {
        HttpError::Dial(DialError::Dns) => "dns_failed",
        HttpError::Dial(DialError::Internal) => "internal_address",
        HttpError::Dial(DialError::Connect) => "connect_failed",
        HttpError::Dial(DialError::Tls) => "tls_failed",
        HttpError::Dial(DialError::Timeout) | HttpError::Timeout => "timeout",
        HttpError::Protocol | HttpError::Request => "protocol_failed",
    }
}
