//! The longest that a request may take. What is cut off is dropped, and a transaction that it was at work on is rolled back;
//! one that only waited for its commit may be made. The client may try again, with an `Idempotency-Key` without a doubt.

use std::time::Duration;

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::errors::ApiError;

/// The deadline of an ordinary request.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Routes that set their own deadlines: they wait for other servers, or take large uploads.
/// A `*` stands for one parameter.
const OWN_DEADLINES: [&str; 6] = [
    "/campaigns/*/test_send",
    "/campaigns/*/smtp_credentials/*/verify",
    "/webhooks/*/test",
    "/billing/checkout",
    "/billing/portal",
    "/contact_imports",
];

/// Cuts a request off at its deadline with `service_unavailable`.
pub async fn limit(request: Request, next: Next) -> Response {
    within(REQUEST_DEADLINE, request, next).await
}

async fn within(deadline: Duration, request: Request, next: Next) -> Response {
    if has_own_deadline(&request) {
        return next.run(request).await;
    }
    tokio::time::timeout(deadline, next.run(request)).await.unwrap_or_else(|_| {
        ApiError::unavailable("the request took longer than its deadline").into_response()
    })
}

fn has_own_deadline(request: &Request) -> bool {
    request.method() == Method::POST
        && request
            .extensions()
            .get::<MatchedPath>()
            .is_some_and(|route| OWN_DEADLINES.iter().any(|pattern| fits(pattern, route.as_str())))
}

/// Whether a route's template, such as `/campaigns/{id}/test_send`, is that of the pattern.
fn fits(pattern: &str, template: &str) -> bool {
    let mut segments = template.split('/');
    pattern.split('/').all(|wanted| {
        segments
            .next()
            .is_some_and(|segment| wanted == segment || (wanted == "*" && segment.starts_with('{')))
    }) && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::{Router, body::Body, middleware::from_fn, routing::post};
    use tower::ServiceExt;

    use super::*;

    async fn status_of(uri: &str) -> u16 {
        let yields = async || tokio::task::yield_now().await;
        let app = Router::new()
            .route("/slow", post(std::future::pending::<()>))
            .route("/campaigns/{id}/test_send", post(yields))
            .layer(from_fn(|request, next| within(Duration::ZERO, request, next)));
        let request = Request::builder().method("POST").uri(uri).body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_request_is_cut_off_unless_its_route_has_its_own_deadline() {
        assert_eq!(status_of("/slow").await, 503);
        assert_eq!(status_of("/campaigns/1/test_send").await, 200);
    }

    #[test]
    fn a_pattern_fits_its_template_whatever_the_parameters_are_called() {
        assert!(fits("/campaigns/*/test_send", "/campaigns/{campaign_id}/test_send"));
        assert!(fits("/billing/portal", "/billing/portal"));
        for template in ["/campaigns/{id}", "/campaigns/x/test_send", "/campaigns/{id}/test_send/x"] {
            assert!(!fits("/campaigns/*/test_send", template), "{template}");
        }
    }
}
