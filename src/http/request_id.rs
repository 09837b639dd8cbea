//! The request's id, on every answer and in every log line, and the one access line.
//!
//! The line has the route's template instead of the path, and neither query nor body: ids,
//! addresses and secrets stay out of the log.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;

use crate::{clock, errors::Rendered, metrics};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a request.
const MAX_LENGTH: usize = 64;

/// The id of the request at hand, in its extensions.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own id if it is well formed (1 to 64 visible ASCII characters), else a new one.
    fn of(request: &Request) -> Self {
        let given = request.headers().get(X_REQUEST_ID).filter(|value| {
            let bytes = value.as_bytes();
            (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        Self(given.cloned().unwrap_or_else(|| {
            // A UUID is always a valid header value.
            HeaderValue::try_from(clock::new_id().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        }))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The outermost middleware: names the request, follows it with a span, logs its end.
pub async fn follow(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(id.clone());
    // At ERROR, so that the id is there at any log level.
    let span = tracing::error_span!("request", request_id = id.as_str());
    async move {
        let began = Instant::now();
        let mut response = next.run(request).await;
        let took = began.elapsed();
        let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
        metrics::answered(method.as_str(), route, response.status().as_u16(), took);
        let code = response.extensions().get::<Rendered>().map(|rendered| rendered.0.as_str());
        tracing::info!(
            method = method.as_str(),
            route,
            status = response.status().as_u16(),
            code,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
        response.headers_mut().insert(X_REQUEST_ID, id.0);
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::body::Body;

    use super::*;

    fn id_of(given: &str) -> String {
        let request = Request::builder().header("x-request-id", given).body(Body::empty()).unwrap();
        RequestId::of(&request).as_str().to_owned()
    }

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(id_of("trace/7:a"), "trace/7:a");
        assert_eq!(id_of(&"x".repeat(64)).len(), 64);
        for given in ["", "two words", "tab\there", &"x".repeat(65)] {
            assert_eq!(id_of(given).len(), 36, "{given}");
        }
    }
}
