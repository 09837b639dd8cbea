//! Ids in paths. A malformed one names a resource that does not exist, so it is answered exactly
//! like an unknown one: by the resource's own `not_found`.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use uuid::Uuid;

use crate::errors::{ApiError, ApiResult, Code};

/// The parameters of the route, by the names that its template gives them; `None` where a segment is no UTF-8 after
/// decoding: no resource has such a name, and that is said only after the key was looked at.
#[derive(Clone, Debug, Default)]
pub struct PathIds(Option<Vec<(String, String)>>);

impl PathIds {
    /// The id of that name, or `not_found` if it is no UUID.
    ///
    /// # Errors
    /// `not_found` for a malformed id; `internal_error` when the template has no such name.
    pub fn id(&self, name: &str, not_found: Code) -> ApiResult<Uuid> {
        parse_id(self.text(name)?, not_found)
    }

    /// The parameter of that name as it came, percent-decoded: empty where it is no UTF-8 then.
    ///
    /// # Errors
    /// `internal_error` when the template has no such name.
    pub fn text(&self, name: &str) -> ApiResult<&str> {
        let Some(known) = &self.0 else { return Ok("") };
        known
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| ApiError::internal(format!("the route has no parameter {name}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(raw) = RawPathParams::from_request_parts(parts, state).await else { return Ok(Self(None)) };
        Ok(Self(Some(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())))
    }
}

/// An id in the form in which the API gives it: 36 characters with hyphens.
///
/// # Errors
/// `not_found` for anything else.
pub fn parse_id(text: &str, not_found: Code) -> ApiResult<Uuid> {
    parse_uuid(text).ok_or_else(|| ApiError::new(not_found))
}

/// A UUID with hyphens; the crate's other spellings (braces, URN, no hyphens) are no ids of ours.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "018f3c2e-7b1a-7c3d-9e4f-001122334455";
        assert_eq!(parse_uuid(id).map(|it| it.to_string()).as_deref(), Some(id));
        for text in ["", "1", "018f3c2e7b1a7c3d9e4f001122334455", "018f3c2e-7b1a-7c3d-9e4f-00112233445g"] {
            let refused = parse_id(text, Code::WebhookNotFound).map_err(|error| error.code);
            assert_eq!(refused, Err(Code::WebhookNotFound), "{text}");
        }
    }
}
