//! Lists: every one of the router is paged by key, in the same way.

use std::collections::BTreeSet;

use ampout::{app::App, clock::new_id};
use axum::http::{Method, StatusCode};
use loco_rs::app::Hooks;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    support::{World, billing::paying_world as world, rows::Rows},
    tenancy::operations::{self, Operation, id_of, rows_of},
};

/// The lists of the contract. A new one is added here.
pub const LISTS: [&str; 12] = [
    "/api_keys",
    "/campaigns",
    "/campaigns/{campaign_id}/enrollment_skips",
    "/campaigns/{campaign_id}/enrollments",
    "/campaigns/{campaign_id}/smtp_credentials",
    "/campaigns/{id}/deliveries",
    "/contact_imports",
    "/contact_imports/{id}/contacts",
    "/contacts",
    "/outreaches",
    "/webhooks",
    "/webhooks/{id}/deliveries",
];
/// Bare arrays of a fixed few.
const NOT_PAGED: [&str; 1] = ["/plans"];

/// Every operation of the router that answers a list.
async fn lists(w: &World, rows: &Rows) -> Vec<Operation> {
    let of_router: BTreeSet<String> =
        App::routes(&w.ctx).collect().into_iter().map(|route| route.uri).collect();
    let mut found = vec![];
    for operation in operations::all() {
        assert!(of_router.contains(operation.route), "{}", operation.route);
        if operation.method != Method::GET || NOT_PAGED.contains(&operation.route) {
            continue;
        }
        let (path, _) = operation.filled(|name| id_of(rows, name));
        if w.alice.get(&path).await.text().starts_with('[') {
            found.push(operation);
        }
    }
    found
}

/// The link to the next page, of an answer that has one.
fn next(answer: &axum_test::TestResponse) -> Option<String> {
    let link = answer.maybe_header("link")?.to_str().unwrap().to_owned();
    Some(link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

fn ids(answer: &axum_test::TestResponse) -> Vec<Uuid> {
    answer.assert_status_ok();
    let rows: Vec<Json> = answer.json();
    rows.iter().map(|row| row["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn every_list_of_the_router_is_walked_page_by_page_and_refuses_bad_pages() {
    world(|w| async move {
        let rows = rows_of(&w, &w.alice).await;
        rows_of(&w, &w.bob).await;
        let lists = lists(&w, &rows).await;
        let routes: BTreeSet<&str> = lists.iter().map(|list| list.route).collect();
        assert_eq!(routes, LISTS.into());
        for list in lists {
            let (path, _) = list.filled(|name| id_of(&rows, name));
            let with = |query: &str| format!("{path}{}{query}", list.query_mark());
            let all = ids(&w.alice.get(&path).await);
            assert!(!all.is_empty(), "{path}");
            assert!(all.is_sorted_by(|one, next| one > next), "{path}: newest first");
            let (mut walked, mut page) = (vec![], Some(with("limit=1")));
            while let Some(current) = page {
                let answer = w.alice.get(&current).await;
                walked.extend(ids(&answer));
                page = next(&answer);
                if let Some(page) = &page {
                    let (path, query) = page.split_once('?').unwrap();
                    let own = with("").split_once('?').unwrap().1.trim_end_matches('&').to_owned();
                    assert!(
                        query.contains("limit=1") && query.ends_with(&own),
                        "{path} {query}: filters stay"
                    );
                }
            }
            assert_eq!(walked, all, "{path}");
            for wrong in
                ["limit=0", "limit=1001", "limit=x", "limit=", "after=x", "after=", "after=1", "page=2"]
            {
                let refused = w.alice.get(&with(wrong)).await;
                refused.assert_status(StatusCode::BAD_REQUEST);
                assert_eq!(refused.json::<Json>()["code"], "bad_request", "{path} {wrong}");
            }
            assert_eq!(ids(&w.alice.get(&with("limit=1000")).await), all);
            for position in [Uuid::nil(), Uuid::max(), new_id(), Uuid::from_u128(u128::from(u64::MAX))] {
                let before: Vec<Uuid> = all.iter().copied().filter(|id| *id < position).collect();
                assert_eq!(ids(&w.alice.get(&with(&format!("after={position}"))).await), before, "{path}");
            }
        }
    })
    .await;
}
