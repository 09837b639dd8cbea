//! Query strings, parsed strictly: an unknown, repeated, missing or unreadable parameter is a
//! `bad_request` that names it.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

use super::serde_words::{Complaint, short};
use crate::errors::{ApiError, ApiResult};

/// The query of a route that is no list. `T` is a struct with `deny_unknown_fields`; a route
/// without parameters takes `Query<NoFields>`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Parses a raw query string.
///
/// # Errors
/// `bad_request` that names the parameter.
pub fn parse_query<T: DeserializeOwned>(raw: &str) -> ApiResult<T> {
    parse_pairs(&pairs(raw)?)
}

/// The parameters in their order, decoded.
pub(super) fn pairs(raw: &str) -> ApiResult<Vec<(String, String)>> {
    if !is_decodable(raw) {
        return Err(unreadable_query());
    }
    let pairs: Vec<(String, String)> = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
    // Bytes that are no UTF-8 were replaced; PostgreSQL cannot store or compare U+0000.
    let unreadable = |text: &String| text.contains(['\u{FFFD}', '\0']);
    if pairs.iter().any(|(name, value)| unreadable(name) || unreadable(value)) {
        return Err(unreadable_query());
    }
    Ok(pairs)
}

fn unreadable_query() -> ApiError {
    ApiError::bad_request("The query string is unreadable")
}

/// Whether each `%` begins two hexadecimal digits (RFC 3986, section 2.1). The decoder takes any other for itself, and
/// the filter would be another than the client meant.
fn is_decodable(raw: &str) -> bool {
    raw.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

pub(super) fn parse_pairs<T: DeserializeOwned>(pairs: &[(String, String)]) -> ApiResult<T> {
    let encoded = encode(pairs);
    let parsed = form_urlencoded::parse(encoded.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(parsed)).map_err(|error| {
        let path = short(&error.path().to_string());
        ApiError::bad_request(match Complaint::read(&error.inner().to_string()) {
            Complaint::Unknown(name) => format!("Unknown query parameter `{name}`"),
            Complaint::Missing(name) => format!("Missing query parameter `{name}`"),
            Complaint::Duplicate(name) => twice(&name),
            Complaint::WrongType(kind) => format!("Query parameter `{path}` must be {kind}"),
            Complaint::Invalid => format!("Query parameter `{path}` is invalid"),
        })
    })
}

pub(super) fn twice(name: &str) -> String {
    format!("Query parameter `{name}` is given twice")
}

pub(super) fn encode(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;
    use crate::{errors::Code, http::json::NoFields};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filters {
        email: Option<String>,
        batch_number: Option<i64>,
        contact_id: Option<Uuid>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Needed {
        #[expect(dead_code, reason = "only parsed")]
        name: String,
    }

    #[test]
    fn a_query_that_fits_is_taken() {
        let filters: Filters = parse_query("email=a%2Bb%40x.example&batch_number=-3").unwrap();
        assert_eq!(filters.email.as_deref(), Some("a+b@x.example"));
        assert_eq!((filters.batch_number, filters.contact_id), (Some(-3), None));
        assert!(parse_query::<NoFields>("").is_ok());
    }

    #[test]
    fn every_misfit_names_its_parameter() {
        let cases = [
            ("nmae=1", "Unknown query parameter `nmae`"),
            ("email=a&email=b", "Query parameter `email` is given twice"),
            ("batch_number=x", "Query parameter `batch_number` is invalid"),
            ("batch_number=", "Query parameter `batch_number` is invalid"),
            ("contact_id=x", "Query parameter `contact_id` is invalid"),
            ("email=%ff", "The query string is unreadable"),
            ("email=%zz", "The query string is unreadable"),
            ("email=100%", "The query string is unreadable"),
            ("em%4=x", "The query string is unreadable"),
            ("email=%00", "The query string is unreadable"),
        ];
        for (raw, message) in cases {
            let error = parse_query::<Filters>(raw).unwrap_err();
            assert_eq!((error.code, error.message.as_ref()), (Code::BadRequest, message), "{raw}");
        }
        let error = parse_query::<NoFields>("a=1").unwrap_err();
        assert_eq!(error.message, "Unknown query parameter `a`");
        let error = parse_query::<Needed>("").unwrap_err();
        assert_eq!(error.message, "Missing query parameter `name`");
    }
}
