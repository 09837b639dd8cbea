//! The query of a list: what is taken is a page within its bounds, and the link to the next page says the same again.
#![cfg_attr(fuzzing, no_main)]

use ampout::http::List;
use axum::{
    extract::FromRequestParts,
    http::{Request, header},
    response::IntoResponse,
};
use futures_util::FutureExt;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use uuid::Uuid;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Filters {
    status: Option<String>,
    email: Option<String>,
    batch_number: Option<i64>,
    contact_id: Option<Uuid>,
}

fn list(uri: &str) -> Option<List<Filters>> {
    let (mut parts, ()) = Request::builder().uri(uri).body(()).ok()?.into_parts();
    List::from_request_parts(&mut parts, &()).now_or_never().expect("nothing to wait for").ok()
}

fuzz_target!(|query: &str| {
    let Some(list) = self::list(&format!("/contacts?{query}")) else { return };
    let limit = list.page.limit();
    assert!((1..=1000).contains(&limit));
    let ids: Vec<Uuid> = (0..=u128::from(limit)).map(Uuid::from_u128).collect();
    let last = Uuid::from_u128(u128::from(limit) - 1);
    let response = list.answer(ids, |id| *id, |id| id).into_response();
    let link =
        response.headers().get(header::LINK).expect("one row more than is shown").to_str().expect("ASCII");
    let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link");
    let next = self::list(next).expect("a link that can be followed");
    assert_eq!((next.page.limit(), next.page.after()), (limit, Some(last)));
    assert_eq!(next.filters, list.filters);
});
