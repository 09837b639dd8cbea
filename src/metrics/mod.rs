//! What Prometheus may read at `GET /metrics`: every name in one list, one function for each thing that is counted.
//!
//! Labels take few values: routes are templates, methods and outcomes are ours. What is counted is of this process
//! since its start; what is measured (gauges) is read from the database when somebody asks ([`sample`]).

mod sample;

use std::{sync::LazyLock, time::Duration};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use sample::{Sample, sample};

/// What a metric is called, what it says and what it is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as Prometheus knows it.
    pub name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

const fn metric(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, labels }
}

const REQUESTS: Metric =
    metric("ampout_http_requests_total", "Requests answered.", &["method", "route", "status"]);
const REQUEST_SECONDS: Metric =
    metric("ampout_http_request_duration_seconds", "Time to answer a request.", &["method", "route"]);
const SENDS: Metric =
    metric("ampout_sends_total", "Messages offered to mail servers, by what became of them.", &["outcome"]);
const WEBHOOK_ATTEMPTS: Metric =
    metric("ampout_webhook_attempts_total", "Attempts to deliver a webhook, by outcome.", &["outcome"]);
const INBOX_MAILS: Metric = metric(
    "ampout_inbox_mails_total",
    "Mails found in mailboxes, by whether they fit a delivery.",
    &["outcome"],
);
const INBOX_POLLS: Metric =
    metric("ampout_inbox_polls_total", "Readings of mailboxes, by outcome.", &["outcome"]);
const IMPORTS: Metric =
    metric("ampout_imports_total", "Contact imports that were taken, by format.", &["format"]);
const STORE_FAILURES: Metric = metric(
    "ampout_rate_limit_store_failures_total",
    "Requests that found the shared store of rate limits away.",
    &[],
);
const LANES_AWAKE: Metric =
    metric("ampout_lanes_awake", "Credentials that have something to send now, or are sending.", &[]);
const DELIVERIES: Metric = metric(
    "ampout_deliveries",
    "Deliveries under way or undecided, by state; counted up to a bound.",
    &["state"],
);
const JOBS_QUEUED: Metric = metric("ampout_jobs_queued", "Background jobs that wait.", &[]);
const OLDEST_JOB: Metric = metric(
    "ampout_jobs_oldest_due_seconds",
    "How long the job that is overdue the longest is overdue, without those that wait for a place.",
    &[],
);

/// Every metric.
pub const ALL: [Metric; 12] = [
    REQUESTS,
    REQUEST_SECONDS,
    SENDS,
    WEBHOOK_ATTEMPTS,
    INBOX_MAILS,
    INBOX_POLLS,
    IMPORTS,
    STORE_FAILURES,
    LANES_AWAKE,
    DELIVERIES,
    JOBS_QUEUED,
    OLDEST_JOB,
];

/// From a millisecond to half a minute, where requests are cut off.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    sends: IntCounterVec,
    webhook_attempts: IntCounterVec,
    inbox_mails: IntCounterVec,
    inbox_polls: IntCounterVec,
    imports: IntCounterVec,
    store_failures: IntCounterVec,
    lanes_awake: IntGaugeVec,
    deliveries: IntGaugeVec,
    jobs_queued: IntGaugeVec,
    oldest_job: IntGaugeVec,
}

static METRICS: LazyLock<Result<Metrics, prometheus::Error>> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |it: Metric| {
            let vec = IntCounterVec::new(Opts::new(it.name, it.help), it.labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let gauge = |it: Metric| {
            let vec = IntGaugeVec::new(Opts::new(it.name, it.help), it.labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let histogram = |it: Metric| {
            let opts = HistogramOpts::new(it.name, it.help).buckets(SECONDS.to_vec());
            let vec = HistogramVec::new(opts, it.labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        Ok(Self {
            requests: counter(REQUESTS)?,
            request_seconds: histogram(REQUEST_SECONDS)?,
            sends: counter(SENDS)?,
            webhook_attempts: counter(WEBHOOK_ATTEMPTS)?,
            inbox_mails: counter(INBOX_MAILS)?,
            inbox_polls: counter(INBOX_POLLS)?,
            imports: counter(IMPORTS)?,
            store_failures: counter(STORE_FAILURES)?,
            lanes_awake: gauge(LANES_AWAKE)?,
            deliveries: gauge(DELIVERIES)?,
            jobs_queued: gauge(JOBS_QUEUED)?,
            oldest_job: gauge(OLDEST_JOB)?,
            registry,
        })
    }

    /// Nothing rather than what was true earlier.
    fn hide(&self) {
        for gauge in [&self.lanes_awake, &self.deliveries, &self.jobs_queued, &self.oldest_job] {
            gauge.reset();
        }
    }

    /// Says zero for what has not happened yet, so that a rate can be taken of its first time.
    fn show_zeros(&self) {
        self.store_failures.with_label_values::<&str>(&[]);
        for outcome in ["accepted", "deferred", "bounced", "uncertain", "given_back"] {
            self.sends.with_label_values(&[outcome]);
        }
        for outcome in ["delivered", "failed"] {
            self.webhook_attempts.with_label_values(&[outcome]);
        }
        for outcome in ["matched", "unmatched", "parked"] {
            self.inbox_mails.with_label_values(&[outcome]);
        }
        for outcome in ["read", "failed"] {
            self.inbox_polls.with_label_values(&[outcome]);
        }
        for format in ["json", "csv"] {
            self.imports.with_label_values(&[format]);
        }
    }

    fn show(&self, sample: &Sample) {
        self.lanes_awake.with_label_values::<&str>(&[]).set(sample.lanes_awake);
        self.jobs_queued.with_label_values::<&str>(&[]).set(sample.jobs_queued);
        self.oldest_job.with_label_values::<&str>(&[]).set(sample.oldest_job_seconds);
        for (state, count) in &sample.deliveries {
            self.deliveries.with_label_values(&[state]).set(*count);
        }
    }
}

fn metrics() -> Option<&'static Metrics> {
    METRICS.as_ref().ok()
}

/// A request was answered. Anybody may invent a method, so those that no route knows are one.
pub fn answered(method: &str, route: &str, status: u16, took: Duration) {
    let Some(metrics) = metrics() else { return };
    let known = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"];
    let method = known.into_iter().find(|known| *known == method).unwrap_or("other");
    let mut digits = [0; 3];
    metrics.requests.with_label_values(&[method, route, three_digits(status, &mut digits)]).inc();
    metrics.request_seconds.with_label_values(&[method, route]).observe(took.as_secs_f64());
}

/// A status without an allocation.
fn three_digits(status: u16, room: &mut [u8; 3]) -> &str {
    let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or(0);
    *room = [digit(status / 100), digit(status / 10), digit(status)];
    std::str::from_utf8(room).unwrap_or("000")
}

/// What became of a message that was offered: `accepted`, `deferred`, `bounced`, `uncertain`, `given_back`.
pub fn sent(outcome: &'static str) {
    count(|it| &it.sends, &[outcome]);
}

/// An attempt to deliver a webhook: `delivered` or `failed`.
pub fn webhook_attempted(outcome: &'static str) {
    count(|it| &it.webhook_attempts, &[outcome]);
}

/// A mail was found in a mailbox: `matched`, `unmatched`, or `parked` (it cannot be read and is skipped).
pub fn mail_found(outcome: &'static str) {
    count(|it| &it.inbox_mails, &[outcome]);
}

/// A mailbox was looked into: `read` or `failed`.
pub fn mailbox_polled(outcome: &'static str) {
    count(|it| &it.inbox_polls, &[outcome]);
}

/// An import was taken: `json` or `csv`.
pub fn imported(format: &'static str) {
    count(|it| &it.imports, &[format]);
}

/// The shared store of rate limits did not answer.
pub fn limit_store_failed() {
    count(|it| &it.store_failures, &[]);
}

fn count(which: impl Fn(&Metrics) -> &IntCounterVec, labels: &[&str]) {
    if let Some(metrics) = metrics() {
        which(metrics).with_label_values(labels).inc();
    }
}

/// Everything in Prometheus' text format, without gauges where there is no sample.
///
/// # Errors
/// When a metric could not be made or written: a fault of this file.
pub fn render(sample: Option<&Sample>) -> Result<String, prometheus::Error> {
    let metrics = METRICS.as_ref().map_err(|error| prometheus::Error::Msg(error.to_string()))?;
    metrics.show_zeros();
    match sample {
        Some(sample) => metrics.show(sample),
        None => metrics.hide(),
    }
    let mut text = vec![];
    TextEncoder::new().encode(&metrics.registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_metric_is_shown_and_methods_that_anybody_invents_are_one() {
        for method in ["GET", "BREW", "WHEN"] {
            answered(method, "/pots/{id}", 418, Duration::from_millis(3));
        }
        let sample = Sample { deliveries: vec![("sending", 2)], ..Sample::default() };
        let text = render(Some(&sample)).unwrap();
        for metric in ALL {
            assert!(
                text.contains(&format!("# HELP {} ", metric.name)),
                "{} is missing:\n{text}",
                metric.name
            );
        }
        assert!(
            text.contains("requests_total{method=\"other\",route=\"/pots/{id}\",status=\"418\"} 2"),
            "{text}"
        );
        assert!(!text.contains("BREW"));
        assert!(text.contains("ampout_deliveries{state=\"sending\"} 2"));
    }
}
