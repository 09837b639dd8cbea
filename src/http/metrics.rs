//! How Prometheus reads what `crate::metrics` counts: as an answer of the API, or from a process that serves nothing else.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};
use loco_rs::app::AppContext;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::serve::{HEAD_WITHIN, Waits, serve};
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    metrics,
    state::AppState,
};

/// Prometheus' text format 0.0.4.
const TEXT: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// The answer. What was counted is shown also while the database is away.
///
/// # Errors
/// `internal_error` when a metric cannot be written.
pub async fn render(ctx: &AppContext) -> ApiResult<impl IntoResponse + use<>> {
    let state = AppState::of(ctx)?;
    let sample = metrics::sample(&state.db, Timestamp::now()).await;
    if let Err(error) = &sample {
        tracing::warn!(cause = ?error.cause_chain(), "gauges are left out of the metrics");
    }
    let text = metrics::render(sample.ok().as_ref()).map_err(ApiError::internal)?;
    Ok((TEXT, text))
}

/// Serves `GET /metrics` and nothing else until `stop`; where no address is given, only waits.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve_alone(
    ctx: &AppContext,
    binding: Option<SocketAddr>,
    stop: &CancellationToken,
) -> loco_rs::Result<()> {
    let Some(binding) = binding else {
        stop.cancelled().await;
        return Ok(());
    };
    let listener = TcpListener::bind(binding).await?;
    let answer = async |State(ctx): State<AppContext>| render(&ctx).await;
    let app = Router::new().route("/metrics", get(answer)).with_state(ctx.clone());
    let waits = Waits { head: HEAD_WITHIN, drain: Duration::ZERO };
    serve(listener, app, waits, stop.cancelled()).await;
    Ok(())
}
