//! The safety net: an answer of 400 and above that is not yet an error of ours becomes one. It
//! catches the framework's errors, rejections of foreign extractors, and panics.

use std::any::Any;

use axum::{
    body::Body,
    extract::Request,
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::errors::{ApiError, Code, Rendered};

/// Renders anew what was refused by others. Headers such as `Allow` and `Retry-After` stay; the
/// body and what describes it go.
pub async fn wrap(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Rendered>().is_some() {
        return response;
    }
    let code = Code::for_status(status.as_u16());
    let mut error = ApiError::new(code);
    if code.status() >= 500 {
        error = error.cause(format!("an answer of status {status} from outside the handlers"));
    }
    replace(response, error.into_response())
}

fn replace(foreign: Response, ours: Response) -> Response {
    let (mut parts, _) = foreign.into_parts();
    let (own, body) = ours.into_parts();
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_DISPOSITION,
        header::TRANSFER_ENCODING,
        header::ETAG,
        header::LAST_MODIFIED,
    ] {
        parts.headers.remove(name);
    }
    for (name, value) in &own.headers {
        // A time that the other side named is better than our default.
        if name != header::RETRY_AFTER || !parts.headers.contains_key(name) {
            parts.headers.insert(name, value.clone());
        }
    }
    parts.status = own.status;
    parts.extensions.extend(own.extensions);
    Response::from_parts(parts, body)
}

/// What a panic is answered with; its text goes to the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response<Body> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    ApiError::internal(format!("panic: {text}")).into_response()
}
