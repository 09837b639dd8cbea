//! Request bodies: read with a bound and a deadline, then parsed strictly. Whatever does not fit
//! is refused with a message that names the place and never repeats the value.
//!
//! Resource bodies are structs with `deny_unknown_fields`, around one named object:
//!
//! ```ignore
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct CampaignBody {
//!     #[serde(deserialize_with = "object")]
//!     campaign: CampaignParams,
//! }
//! ```
//!
//! A field that a model may miss is an `Option`, so that its absence is a validation failure.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method},
};
use bytes::BytesMut;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};
use serde_json::error::Category;

use super::{
    pieces::Pieces,
    serde_words::{Complaint, short},
};
use crate::errors::{ApiError, ApiResult, Code};

/// The longest that a body may take which is read whole; most requests end sooner (`timeout`).
const BODY_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The most bytes of an ordinary body.
pub const BODY_LIMIT: usize = 1 << 20;

/// The most bytes of a JSON body of `POST /contact_imports`.
pub const IMPORT_BODY_LIMIT: usize = 32 << 20;

/// A body, or a query, that takes no fields at all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// The most bytes that this request's body may have.
pub fn body_limit(request: &Request) -> usize {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if request.method() == Method::POST && route == Some("/contact_imports") {
        IMPORT_BODY_LIMIT
    } else {
        BODY_LIMIT
    }
}

/// Reads the whole body, at most `limit` bytes.
///
/// # Errors
/// Those of [`Pieces`].
pub async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> ApiResult<Bytes> {
    let mut pieces = Pieces::of(headers, body, limit)?;
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    };
    let late = |_| Err(ApiError::bad_request("The body arrived too slowly"));
    tokio::time::timeout(BODY_DEADLINE, whole).await.unwrap_or_else(late)
}

/// Parses a body that was read whole. An empty one is `{}` and needs no content type.
///
/// # Errors
/// `unsupported_media_type` unless it is JSON in UTF-8; `bad_request` that names the place when it
/// does not fit `T`.
pub fn parse_body<T: DeserializeOwned>(content_type: Option<&str>, bytes: &[u8]) -> ApiResult<T> {
    if bytes.is_empty() {
        return parse_json(b"{}");
    }
    if !content_type.is_some_and(|value| is_media_type(value, "application/json")) {
        return Err(ApiError::new(Code::UnsupportedMediaType)
            .message("The body must be JSON with Content-Type: application/json"));
    }
    parse_json(bytes)
}

/// Whether it is that media type, in UTF-8 if a charset is named (RFC 8259, section 8.1; RFC 4180, section 3).
pub(super) fn is_media_type(content_type: &str, wanted: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    media_type.eq_ignore_ascii_case(wanted)
        && parts.all(|parameter| {
            parameter.split_once('=').is_none_or(|(name, value)| {
                !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    if has_escaped_nul(bytes) {
        // PostgreSQL cannot store it in a text.
        return Err(ApiError::bad_request("The body must not contain the character U+0000"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(ObjectOnly(&mut json)).map_err(|error| {
        let path = short(&error.path().to_string());
        refusal(&path, error.inner())
    })?;
    json.end().map_err(|error| refusal(".", &error))?;
    Ok(parsed)
}

/// Whether a string in the JSON says `\u0000`; a backslash before it would make it plain text.
fn has_escaped_nul(bytes: &[u8]) -> bool {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate() {
        if escaped && byte == b'u' && bytes.get(at..at + 5).is_some_and(|it| it == b"u0000") {
            return true;
        }
        escaped = byte == b'\\' && !escaped;
    }
    false
}

fn refusal(path: &str, error: &serde_json::Error) -> ApiError {
    if error.classify() != Category::Data {
        return ApiError::bad_request(format!(
            "The body is not valid JSON (line {}, column {})",
            error.line(),
            error.column()
        ));
    }
    let at = |field: &str| place(path, field);
    ApiError::bad_request(match Complaint::read(&error.to_string()) {
        Complaint::Unknown(field) => format!("Unknown field `{}`", at(&field)),
        Complaint::Missing(field) => format!("Missing field `{}`", at(&field)),
        Complaint::Duplicate(field) => format!("Field `{}` is given twice", at(&field)),
        Complaint::WrongType(kind) if path == "." => format!("The body must be {kind}"),
        Complaint::WrongType(kind) => format!("`{path}` must be {kind}"),
        Complaint::Invalid if path == "." => "The body is invalid".to_owned(),
        Complaint::Invalid => format!("`{path}` is invalid"),
    })
}

/// Where the field is: the path may end before the field or with it.
fn place(path: &str, field: &str) -> String {
    if path == "." {
        field.to_owned()
    } else if path == field || path.strip_suffix(field).is_some_and(|parent| parent.ends_with('.')) {
        path.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// For `#[serde(deserialize_with)]` on a field that must be a JSON object: serde's derived structs
/// take arrays as well, so that `{"campaign": []}` would be an empty change.
///
/// # Errors
/// Those of the inner type, and a wrong type for an array.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(ObjectOnly(deserializer))
}

/// For `#[serde(default, deserialize_with)]` on a field of a PATCH: absent is `None`, null is
/// `Some(None)`, a value is `Some(Some(…))`.
///
/// # Errors
/// Those of the inner type.
pub fn double_option<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Takes structs from objects only, not from arrays.
struct ObjectOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_option(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::http::header;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Step {
        #[expect(dead_code, reason = "only parsed")]
        subject: Option<String>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Params {
        name: Option<String>,
        min_wait_seconds: Option<i64>,
        ratio: Option<f64>,
        verify: Option<bool>,
        list_id: Option<Uuid>,
        #[serde(default)]
        steps: Vec<Step>,
        #[serde(default, deserialize_with = "double_option")]
        #[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
        disabled_at: Option<Option<String>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        #[serde(deserialize_with = "object")]
        campaign: Params,
    }

    fn parse(body: &str) -> ApiResult<Wrapped> {
        parse_body(Some("application/json"), body.as_bytes())
    }

    #[test]
    fn every_misfit_is_refused_in_our_words_with_its_place() {
        let cases = [
            ("", "Missing field `campaign`"),
            ("{}", "Missing field `campaign`"),
            ("[]", "The body must be an object"),
            ("null", "The body must be an object"),
            ("{\"campaign\": 1}", "`campaign` must be an object"),
            ("{\"campaign\": []}", "`campaign` must be an object"),
            ("{\"campaign\": {\"nmae\": 1}}", "Unknown field `campaign.nmae`"),
            ("{\"campaign\": {}, \"x\": 1}", "Unknown field `x`"),
            ("{\"campaign\": {}, \"campaign\": {}}", "Field `campaign` is given twice"),
            ("{\"campaign\": {\"name\": 5}}", "`campaign.name` must be a string"),
            (
                "{\"campaign\": {\"min_wait_seconds\": \"hunter2\"}}",
                "`campaign.min_wait_seconds` must be an integer",
            ),
            ("{\"campaign\": {\"min_wait_seconds\": 1.5}}", "`campaign.min_wait_seconds` must be an integer"),
            ("{\"campaign\": {\"ratio\": []}}", "`campaign.ratio` must be a number"),
            ("{\"campaign\": {\"verify\": 0}}", "`campaign.verify` must be true or false"),
            ("{\"campaign\": {\"list_id\": \"x\"}}", "`campaign.list_id` is invalid"),
            ("{\"campaign\": {\"list_id\": 7}}", "`campaign.list_id` must be a UUID"),
            ("{\"campaign\": {\"steps\": {}}}", "`campaign.steps` must be an array"),
            ("{\"campaign\": {\"steps\": [{}, {\"sub\": 1}]}}", "Unknown field `campaign.steps[1].sub`"),
            (
                "{\"campaign\": {\"steps\": [{\"subject\": {}}]}}",
                "`campaign.steps[0].subject` must be a string",
            ),
            ("{\"campaign\": {}} x", "The body is not valid JSON (line 1, column 18)"),
            ("{\"campaign\": ", "The body is not valid JSON (line 1, column 13)"),
            (" ", "The body is not valid JSON (line 1, column 1)"),
            ("{\"campaign\": {\"name\": \"a\\u0000\"}}", "The body must not contain the character U+0000"),
        ];
        for (body, message) in cases {
            let error = parse(body).unwrap_err();
            assert_eq!((error.code, error.message.as_ref()), (Code::BadRequest, message), "{body}");
        }
    }

    #[test]
    fn a_body_that_fits_is_taken() {
        let body = parse("{\"campaign\": {\"name\": \"a\\\\u0000\", \"steps\": [{}]}}").unwrap();
        assert_eq!(body.campaign.name.as_deref(), Some("a\\u0000"));
        assert_eq!(body.campaign.disabled_at, None);
        assert_eq!(
            parse("{\"campaign\": {\"disabled_at\": null}}").unwrap().campaign.disabled_at,
            Some(None)
        );
        let set = parse("{\"campaign\": {\"disabled_at\": \"x\"}}").unwrap();
        assert_eq!(set.campaign.disabled_at, Some(Some("x".into())));
    }

    #[test]
    fn only_json_in_utf8_is_taken_and_an_empty_body_needs_no_type() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(parse_body::<NoFields>(Some(content_type), b"{}").is_ok(), "{content_type}");
        }
        for content_type in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/jsonx"),
            Some("application/json; charset=latin1"),
            Some("application/x-www-form-urlencoded"),
        ] {
            let error = parse_body::<NoFields>(content_type, b"{}").unwrap_err();
            assert_eq!(error.code, Code::UnsupportedMediaType);
            assert!(parse_body::<NoFields>(content_type, b"").is_ok());
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let read = |size: usize, limit| async move {
            read_body(&HeaderMap::new(), Body::from(vec![b' '; size]), limit)
                .await
                .map(|bytes| bytes.len())
                .map_err(|error| error.code)
        };
        assert_eq!(read(10, 10).await, Ok(10));
        assert_eq!(read(11, 10).await, Err(Code::PayloadTooLarge));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 11.into());
        let error = read_body(&headers, Body::empty(), 10).await.unwrap_err();
        assert_eq!(error.code, Code::PayloadTooLarge);
    }
}
