//! What Prometheus reads: only where it is switched on, every metric, and nothing that the dashboard does not know.

use std::{collections::BTreeSet, sync::Arc};

use ampout::{
    config::Settings,
    jobs::{ENROLL_IMPORT, READ_TABLE},
    metrics,
    sending::ledger::Outcome,
    state::AppState,
};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    World,
    lane::{claim, with_ledger, with_people},
    rows::Rows,
    world,
};

async fn read(w: &World) -> String {
    let answer = w.server.get("/metrics").await;
    answer.assert_status(StatusCode::OK);
    let kind = answer.header("content-type");
    assert_eq!(kind.to_str().unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    answer.text()
}

/// The value of a series, zero where it is not there yet.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn it_is_an_unknown_route_unless_it_is_switched_on() {
    world(|w| async move {
        let state = w.state();
        let mut settings: Settings = (*state.settings).clone();
        settings.metrics.enabled = false;
        w.ctx.shared_store.insert(AppState { settings: Arc::new(settings), ..state });
        let hidden = w.server.get("/metrics").await;
        hidden.assert_status(StatusCode::NOT_FOUND);
        assert_eq!(hidden.json::<Value>(), w.server.get("/nowhere").await.json::<Value>());
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status_without_ids() {
    world(|w| async move {
        let id = "0198c0de-0000-7000-8000-00000000cafe";
        #[expect(clippy::literal_string_with_formatting_args, reason = "a route template")]
        let series = "ampout_http_requests_total{method=\"GET\",route=\"/campaigns/{id}\",status=\"404\"}";
        let before = value(&read(&w).await, series);
        for _ in 0..3 {
            w.alice.get(&format!("/campaigns/{id}")).await.assert_status(StatusCode::NOT_FOUND);
        }
        w.server.get("/nowhere/at/all").await;
        let text = read(&w).await;
        // Other tests of this process count too.
        assert!(value(&text, series) >= before + 3.0, "{text}");
        assert!(text.contains("route=\"unknown\""));
        assert!(!text.contains(id) && !text.contains("/nowhere"), "{text}");
        #[expect(clippy::literal_string_with_formatting_args, reason = "a route template")]
        let slow = "ampout_http_request_duration_seconds_count{method=\"GET\",route=\"/campaigns/{id}\"}";
        assert!(value(&text, slow) >= 3.0);
    })
    .await;
}

#[tokio::test]
async fn gauges_are_read_from_the_database() {
    world(|w| async move {
        // The mails that welcome both owners.
        assert_eq!(w.sql("DELETE FROM jobs", []).await, 2);
        let empty = metrics::sample(&w.db(), ampout::clock::Timestamp::now()).await.unwrap();
        assert_eq!((empty.lanes_awake, empty.jobs_queued, empty.oldest_job_seconds), (0, 0, 0));
        Rows::of(w.alice.account_id.parse().unwrap()).store(&w.ctx.db).await;
        w.sql("UPDATE smtp_credentials SET wake_at = 1, next_send_at = 0, holder = NULL", []).await;
        w.sql("UPDATE deliveries SET state = 'deferred'", []).await;
        let job = "INSERT INTO jobs (id, name, args, status, run_at, max_attempts, created_at, updated_at) \
                   VALUES ($1, $2, '{}', 'queued', 1, 1, 1, 1)";
        for class in [READ_TABLE, ENROLL_IMPORT] {
            w.sql(job, [ampout::clock::new_id().into(), class.into()]).await;
        }
        let waiting = metrics::sample(&w.db(), ampout::clock::Timestamp::now()).await.unwrap();
        let alarm = (waiting.jobs_queued, waiting.oldest_job_seconds);
        assert_eq!(alarm, (2, 0), "that they wait for a place says nothing of the engine");
        w.sql(job, [ampout::clock::new_id().into(), "a job".into()]).await;
        let full = metrics::sample(&w.db(), ampout::clock::Timestamp::now()).await.unwrap();
        assert_eq!((full.lanes_awake, full.jobs_queued), (1, 3));
        for barred in ["disabled_at = 1", "deleted_at = 1", "next_send_at = 8000000000000000"] {
            w.sql(&format!("UPDATE smtp_credentials SET {barred}"), []).await;
            let resting = metrics::sample(&w.db(), ampout::clock::Timestamp::now()).await.unwrap();
            assert_eq!(resting.lanes_awake, 0, "{barred}");
            let back = "UPDATE smtp_credentials SET disabled_at = NULL, deleted_at = NULL, next_send_at = 0";
            w.sql(back, []).await;
        }
        assert!(full.oldest_job_seconds > 1_000_000_000);
        let deferred: Vec<i64> =
            full.deliveries.iter().filter(|it| it.0 == "deferred").map(|it| it.1).collect();
        assert_eq!((deferred, full.deliveries.iter().map(|it| it.1).sum::<i64>()), (vec![1], 1));
    })
    .await;
}

#[tokio::test]
async fn an_import_is_counted() {
    world(|w| async move {
        let series = "ampout_imports_total{format=\"json\"}";
        let before = value(&read(&w).await, series);
        let import = json!({"contact_import": {"name": "a", "contacts": [{"email": "a@example.com"}]}});
        w.alice.made("/contact_imports", &import).await;
        assert!(value(&read(&w).await, series) >= before + 1.0);
    })
    .await;
}

#[tokio::test]
async fn what_became_of_a_message_is_counted_once_it_is_recorded() {
    with_people(1, |w, mine| async move {
        let series = "ampout_sends_total{outcome=\"given_back\"}";
        let before = value(&read(&w).await, series);
        let ended = vec![(claim(&w, &mine, 1).await[0].ticket(), Outcome::GivenBack)];
        with_ledger(&w, async |ledger| ledger.record(ended).await.unwrap()).await;
        assert!(value(&read(&w).await, series) >= before + 1.0);
    })
    .await;
}

/// The names in a text that look like metrics of ours.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("ampout_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn the_dashboard_and_the_documentation_name_exactly_the_metrics_that_there_are() {
    let all: BTreeSet<String> = metrics::ALL.iter().map(|metric| metric.name.to_owned()).collect();
    let dashboard = include_str!("../../assets/grafana/ampout.json");
    serde_json::from_str::<Value>(dashboard).unwrap();
    assert_eq!(names(dashboard), all);
    assert_eq!(names(include_str!("../../docs/METRICS.md")), all);
}
