//! Lists: the page and the filters of a request, and the answer with its link to the next page.

use axum::{
    extract::{FromRequestParts, OriginalUri},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{json::NoFields, path::parse_uuid, query};
use crate::{
    errors::{ApiError, ApiResult},
    paging::{DEFAULT_LIMIT, Page},
};

/// The query of a list: `limit` and `after`, and the list's own filters, a struct with
/// `deny_unknown_fields`.
#[derive(Clone, Debug)]
pub struct List<F = NoFields> {
    /// Which rows.
    pub page: Page,
    /// Which of them.
    pub filters: F,
    path: String,
    others: Vec<(String, String)>,
}

impl<S: Send + Sync, F: DeserializeOwned> FromRequestParts<S> for List<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        Self::parse(uri.path(), uri.query().unwrap_or_default())
    }
}

impl<F: DeserializeOwned> List<F> {
    fn parse(path: &str, raw: &str) -> ApiResult<Self> {
        let (paging, others): (Vec<_>, Vec<_>) =
            query::pairs(raw)?.into_iter().partition(|(name, _)| name == "limit" || name == "after");
        let limit = single(&paging, "limit")?.map_or(DEFAULT_LIMIT, |text| text.parse().unwrap_or(0));
        let after = match single(&paging, "after")? {
            Some(text) => Some(
                parse_uuid(text)
                    .ok_or_else(|| ApiError::bad_request("Query parameter `after` must be a UUID"))?,
            ),
            None => None,
        };
        let page = Page::new(limit, after).ok_or_else(|| {
            ApiError::bad_request("Query parameter `limit` must be an integer from 1 to 1000")
        })?;
        Ok(Self { page, filters: query::parse_pairs(&others)?, path: path.to_owned(), others })
    }
}

impl<F> List<F> {
    /// The answer: the page's rows as `view` shows them, and the link to the next page when there
    /// is one. `rows` are those that [`Page::apply`] fetched, one more than is shown included.
    pub fn answer<M, V>(
        &self,
        mut rows: Vec<M>,
        id: impl Fn(&M) -> Uuid,
        view: impl FnMut(M) -> V,
    ) -> Listed<V> {
        let shown = usize::try_from(self.page.limit()).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let last = rows.last().map(id).filter(|_| more);
        Listed { rows: rows.into_iter().map(view).collect(), next: last.map(|last| self.next(last)) }
    }

    /// The next page's path and query.
    fn next(&self, last: Uuid) -> String {
        let mut query =
            vec![("limit".to_owned(), self.page.limit().to_string()), ("after".to_owned(), last.to_string())];
        query.extend(self.others.iter().cloned());
        format!("{}?{}", self.path, query::encode(&query))
    }
}

fn single<'a>(pairs: &'a [(String, String)], name: &str) -> ApiResult<Option<&'a str>> {
    let mut found = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let first = found.next();
    if found.next().is_some() {
        return Err(ApiError::bad_request(query::twice(name)));
    }
    Ok(first)
}

/// A bare JSON array, with `Link: <…>; rel="next"` (RFC 8288) when there is more.
#[derive(Clone, Debug)]
pub struct Listed<V> {
    rows: Vec<V>,
    next: Option<String>,
}

impl<V: Serialize> IntoResponse for Listed<V> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.rows).into_response();
        let link = self.next.map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")));
        if let Some(Ok(link)) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde::Deserialize;

    use super::*;
    use crate::errors::Code;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filters {
        status: Option<String>,
    }

    fn parse(raw: &str) -> ApiResult<List<Filters>> {
        List::parse("/campaigns", raw)
    }

    #[test]
    fn the_page_is_read_beside_the_filters() {
        let list = parse("").unwrap();
        assert_eq!((list.page, list.filters.status), (Page::default(), None));
        let list = parse("status=active&limit=1000&after=018f3c2e-7b1a-7c3d-9e4f-001122334455").unwrap();
        assert_eq!((list.page.limit(), list.page.fetch()), (1000, 1001));
        assert!(list.page.after().is_some());
        assert_eq!(list.filters.status.as_deref(), Some("active"));
    }

    #[test]
    fn a_bad_page_is_a_bad_request() {
        let limit = "Query parameter `limit` must be an integer from 1 to 1000";
        let cases = [
            ("limit=0", limit),
            ("limit=1001", limit),
            ("limit=-1", limit),
            ("limit=x", limit),
            ("limit=", limit),
            ("limit=99999999999999999999", limit),
            ("after=x", "Query parameter `after` must be a UUID"),
            ("after=", "Query parameter `after` must be a UUID"),
            ("limit=1&limit=2", "Query parameter `limit` is given twice"),
            ("page=2", "Unknown query parameter `page`"),
        ];
        for (raw, message) in cases {
            let error = parse(raw).unwrap_err();
            assert_eq!((error.code, error.message.as_ref()), (Code::BadRequest, message), "{raw}");
        }
    }

    #[test]
    fn the_link_leads_on_with_the_same_filters() {
        let list = parse("status=a%26b&limit=2").unwrap();
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let listed = list.answer(ids.to_vec(), |id| *id, |id| id.as_u128());
        assert_eq!(listed.rows, [1, 2]);
        let response = listed.into_response();
        assert_eq!(
            response.headers().get(header::LINK).unwrap(),
            "</campaigns?limit=2&after=00000000-0000-0000-0000-000000000002&status=a%26b>; rel=\"next\""
        );
    }

    #[test]
    fn the_last_page_has_no_link() {
        let list = parse("limit=2").unwrap();
        let listed = list.answer(vec![Uuid::nil(), Uuid::nil()], |id| *id, |id| id);
        assert!(listed.into_response().headers().get(header::LINK).is_none());
    }
}
