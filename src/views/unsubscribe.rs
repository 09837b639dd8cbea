//! What recipients see: two pages without a script, and a pixel. They are the same bytes for every token, good or bad,
//! so that nothing can be learned by trying.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

const LAYOUT: &str = include_str!("../../assets/views/unsubscribe/layout.html");

static ASK: LazyLock<String> =
    LazyLock::new(|| in_layout("Unsubscribe", include_str!("../../assets/views/unsubscribe/ask.html")));
static DONE: LazyLock<String> =
    LazyLock::new(|| in_layout("Unsubscribed", include_str!("../../assets/views/unsubscribe/done.html")));

/// Both are ours: nothing of a request gets into a page.
fn in_layout(title: &str, body: &str) -> String {
    LAYOUT.replace("<!-- title -->", title).replace("<!-- body -->", body.trim_end())
}

/// The smallest transparent GIF (`GIF89a`, one pixel).
pub const PIXEL: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\
\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;";

/// Nothing is loaded, run or framed, and the token in the address goes nowhere.
const PAGE_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
];

/// A mail program shows the pixel from another origin, which the last header allows.
const PIXEL_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("image/gif")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
];

/// The page with the button.
pub fn ask() -> Response {
    (PAGE_HEADERS, ASK.as_str()).into_response()
}

/// The page after it was pressed.
pub fn done() -> Response {
    (PAGE_HEADERS, DONE.as_str()).into_response()
}

/// The pixel.
pub fn pixel() -> Response {
    (PIXEL_HEADERS, PIXEL).into_response()
}
