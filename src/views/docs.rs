//! The pages that people read about the API: the reference, and one on each error code from the catalogue.
//!
//! Everything that they load is in the binary. Their text is ours: nothing of a request is shown.

use crate::errors::{Code, Sample};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

const REFERENCE: &str = include_str!("../../assets/views/docs/reference.html");
const ERRORS: &str = include_str!("../../assets/views/docs/errors.html");
const ERROR: &str = include_str!("../../assets/views/docs/error.html");

/// Nothing comes from elsewhere. Redoc writes style elements and runs its search in a worker made of a blob.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             connect-src 'self'; worker-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// A file that the pages load.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    kind: &'static str,
    content: &'static [u8],
}

impl Asset {
    /// The style of every page.
    pub const STYLE: Self =
        Self { kind: "text/css; charset=utf-8", content: include_bytes!("../../assets/views/docs/docs.css") };
    /// Starts the reference.
    pub const REFERENCE: Self = Self {
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/views/docs/reference.js"),
    };
    /// The reference itself (`assets/docs/redoc/README.md`).
    pub const REDOC: Self = Self {
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/docs/redoc/redoc.standalone.js"),
    };
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "public, max-age=3600"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, self.content).into_response()
    }
}

/// The page that draws the `OpenAPI` document.
pub fn reference() -> Response {
    (HEADERS, REFERENCE).into_response()
}

/// Every code on one page.
pub fn errors() -> Response {
    let rows: Vec<String> = Code::ALL.iter().map(|code| row(*code)).collect();
    let page =
        ERRORS.replace("{{sample}}", &sample(Code::ValidationFailed)).replace("{{rows}}", &rows.join("\n"));
    (HEADERS, page).into_response()
}

/// What a code means, a sample and what to do.
pub fn error(code: Code) -> Response {
    let page = ERROR
        .replace("{{code}}", code.as_str())
        .replace("{{status}}", &code.status().to_string())
        .replace("{{meaning}}", &marked(code.meaning()))
        .replace("{{remedy}}", &marked(code.remedy()))
        .replace("{{sample}}", &sample(code));
    (HEADERS, page).into_response()
}

fn row(code: Code) -> String {
    let (name, status, meaning) = (code.as_str(), code.status(), marked(code.meaning()));
    format!(
        "<tr><td><a href=\"/docs/errors/{name}\"><code>{name}</code></a></td><td>{status}</td><td>{meaning}</td></tr>"
    )
}

fn sample(code: Code) -> String {
    // Strings and JSON values always serialise.
    escaped(&serde_json::to_string_pretty(&Sample::of(code)).unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The catalogue's text as HTML: what stands between backticks is code.
fn marked(text: &str) -> String {
    let escaped = escaped(text);
    let mut html = String::with_capacity(escaped.len());
    for (index, part) in escaped.split('`').enumerate() {
        if index % 2 == 0 {
            html.push_str(part);
        } else {
            html.extend(["<code>", part, "</code>"]);
        }
    }
    html
}
