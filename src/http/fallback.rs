//! How the middlewares are stacked, and what is answered where no handler is.
//!
//! From the outside in: request id and access line, envelope, panics, deadline, then what the
//! configuration switches on, then the routes with their fallbacks. The framework applies a stack
//! from its end: what stands last meets the request first.

use axum::{Router, middleware::from_fn};
use loco_rs::{
    Result,
    app::AppContext,
    controller::middleware::{MiddlewareLayer, remote_ip::RemoteIpMiddleware, secure_headers::SecureHeader},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{envelope, rate_limit, request_id, timeout, write};
use crate::errors::{ApiError, Code};

/// The application's middlewares, innermost first. A layer that must see the request after its id,
/// its deadline and the envelope goes anywhere between the first and the last.
pub fn stack(ctx: &AppContext) -> Vec<Box<dyn MiddlewareLayer>> {
    let configured = &ctx.config.server.middlewares;
    let mut stack: Vec<Box<dyn MiddlewareLayer>> = vec![Box::new(Fallbacks), Box::new(Transactions)];
    if let Some(remote_ip) = &configured.remote_ip {
        stack.push(Box::<RemoteIpMiddleware>::new(remote_ip.clone()));
    }
    if let Some(secure_headers) = &configured.secure_headers {
        stack.push(Box::<SecureHeader>::new(secure_headers.clone()));
    }
    stack.push(Box::new(Surround));
    stack
}

/// Adds the answers for unknown routes and wrong methods.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(app: Router<S>) -> Router<S> {
    app.fallback(unknown_route).method_not_allowed_fallback(wrong_method)
}

/// Adds what surrounds everything: request id, rate limit headers, envelope, panics, deadline.
pub fn surrounded<S: Clone + Send + Sync + 'static>(app: Router<S>) -> Router<S> {
    app.layer(from_fn(timeout::limit))
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(from_fn(envelope::wrap))
        .layer(from_fn(rate_limit::announce))
        .layer(from_fn(request_id::follow))
}

async fn unknown_route() -> ApiError {
    ApiError::new(Code::NotFound)
}

/// The router itself adds `Allow`.
async fn wrong_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}

struct Fallbacks;

impl MiddlewareLayer for Fallbacks {
    fn name(&self) -> &'static str {
        "fallbacks"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(with_fallbacks(app))
    }
}

/// Inside the envelope and the deadline, so that a request that is given up rolls back.
struct Transactions;

impl MiddlewareLayer for Transactions {
    fn name(&self) -> &'static str {
        "transactions"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn(write::commit_or_roll_back)))
    }
}

struct Surround;

impl MiddlewareLayer for Surround {
    fn name(&self) -> &'static str {
        "surround"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(surrounded(app))
    }
}
