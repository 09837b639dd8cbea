//! Every route of the router, asked without a key, with a key that does not count, and for rows of another account:
//! those answer exactly as rows that do not exist.

use std::collections::BTreeSet;

use ampout::{
    app::App,
    clock::new_id,
    models::_entities::{
        account_periods, api_keys, batches, campaign_totals, campaigns, contact_imports, contacts,
        credential_days, deliveries, enroll_jobs, enrollment_skips, enrollments, former_addresses,
        idempotency_keys, import_chunks, import_uploads, mailboxes, outreaches, parked_mails, sequence_steps,
        smtp_credentials, stripe_events, subscriptions, suppressions, test_messages, usage_hours,
        webhook_attempts, webhook_deliveries, webhooks,
    },
};
use axum::http::{Method, StatusCode};
use axum_test::TestResponse;
use loco_rs::app::Hooks;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operations::{self, id_of, prepare, rows_of};
use crate::support::{Client, World, billing::paying_world as world, rows::Rows};

/// What two answers must have in common to tell nothing: everything but the request's id, the time of day
/// and how many requests the key has left.
fn bytes(answer: &TestResponse) -> (StatusCode, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .iter_headers()
        .filter(|(name, _)| !["x-request-id", "date", "ratelimit"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (answer.status_code(), headers, String::from_utf8(answer.as_bytes().to_vec()).unwrap())
}

fn bearer(client: &Client) -> String {
    format!("Bearer {}", client.key)
}

/// All that an account owns, as text.
async fn estate(w: &World, account_id: Uuid) -> String {
    macro_rules! rows {
        ($($table:ident),+) => {{
            let mut text = String::new();
            $(
                let found = $table::Entity::find().filter($table::Column::AccountId.eq(account_id));
                let mut rows: Vec<_> =
                    found.all(&w.ctx.db).await.unwrap().iter().map(|row| format!("{row:?}")).collect();
                rows.sort();
                text.push_str(&rows.join("\n"));
            )+
            text
        }};
    }
    rows!(
        account_periods,
        api_keys,
        batches,
        campaign_totals,
        campaigns,
        contact_imports,
        contacts,
        credential_days,
        deliveries,
        enroll_jobs,
        enrollment_skips,
        enrollments,
        former_addresses,
        import_chunks,
        import_uploads,
        mailboxes,
        idempotency_keys,
        outreaches,
        parked_mails,
        sequence_steps,
        smtp_credentials,
        stripe_events,
        subscriptions,
        suppressions,
        test_messages,
        usage_hours,
        webhook_attempts,
        webhook_deliveries,
        webhooks
    )
}

#[tokio::test]
async fn every_operation_of_the_router_has_a_valid_request_here() {
    world(|w| async move {
        let routes = App::routes(&w.ctx).collect();
        let of_router: BTreeSet<String> = routes
            .iter()
            .flat_map(|route| route.actions.iter().map(|method| format!("{method} {}", route.uri)))
            .collect();
        let described = operations::all();
        let of_table: BTreeSet<String> =
            described.iter().map(|it| format!("{} {}", it.method, it.route)).collect();
        assert_eq!(of_router, of_table, "tests/tenancy/operations.rs describes other operations");
        assert_eq!(described.len(), of_table.len(), "an operation is described twice");
    })
    .await;
}

#[tokio::test]
async fn the_requests_of_the_table_succeed_and_show_nothing_of_another_account() {
    world(|w| async move {
        let key = bearer(&w.alice);
        let theirs = rows_of(&w, &w.bob).await;
        for operation in operations::all() {
            let rows = rows_of(&w, &w.alice).await;
            prepare(&w, &operation, &rows).await;
            let authorization = if operation.public { vec![] } else { vec![key.as_str()] };
            let answer = operation.send(&w, &authorization, |name| id_of(&rows, name)).await;
            let text = String::from_utf8_lossy(answer.as_bytes()).into_owned();
            let what = format!("{} {}: {} {text}", operation.method, operation.route, answer.status_code());
            assert!(answer.status_code().is_success(), "{what}");
            for name in operations::NAMES {
                assert!(!text.contains(&id_of(&theirs, name).to_string()), "{what} shows their {name}");
            }
            assert!(!text.contains(&w.bob.account_id) && !text.contains("bob@example.com"), "{what}");
        }
    })
    .await;
}

/// What may stand in `Authorization` without letting anybody in.
async fn useless(w: &World) -> Vec<Vec<String>> {
    let made = w.alice.made("/api_keys", &json!({"label": "short-lived"})).await;
    let revoked = made["plaintext"].as_str().unwrap();
    let path = format!("/api_keys/{}", made["id"].as_str().unwrap());
    w.alice.delete(&path).await.assert_status_ok();
    let key = &w.alice.key;
    let unknown = format!("ak_live_{}", "A".repeat(key.len() - "ak_live_".len()));
    vec![
        vec![],
        vec![String::new()],
        vec!["Bearer".into()],
        vec!["Bearer nonsense".into()],
        vec![format!("Bearer {}", &key[..key.len() - 1])],
        vec![format!("Bearer {key}A")],
        vec![format!("Basic {key}")],
        vec![key.clone()],
        vec![format!("Bearer {unknown}")],
        vec![format!("Bearer {key}"), format!("Bearer {key}")],
        vec![format!("Bearer {revoked}")],
    ]
}

#[tokio::test]
async fn without_a_key_that_counts_every_operation_answers_the_same_401() {
    world(|w| async move {
        let rows = rows_of(&w, &w.alice).await;
        let useless = useless(&w).await;
        let before = estate(&w, rows.account_id).await;
        let refused = bytes(&w.server.get("/account").await);
        assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
        assert_eq!(serde_json::from_str::<Value>(&refused.2).unwrap()["code"], "unauthorized");
        assert!(refused.1.contains(&("www-authenticate".to_owned(), "Bearer".to_owned())));
        for operation in operations::all().iter().filter(|it| !it.public) {
            for authorization in &useless {
                let values: Vec<_> = authorization.iter().map(String::as_str).collect();
                // Neither the row nor the query is looked at before the key.
                for (known, extra) in [(true, ""), (false, ""), (true, "unknown=1")] {
                    let mark = if extra.is_empty() { "" } else { operation.query_mark() };
                    let suffix = format!("{mark}{extra}");
                    let id = |name| if known { id_of(&rows, name) } else { new_id() };
                    let answer = operation.send_to(&w, &values, id, &suffix).await;
                    let what = format!("{} {} with {values:?}", operation.method, operation.route);
                    assert_eq!(bytes(&answer), refused, "{what}");
                }
            }
        }
        assert_eq!(estate(&w, rows.account_id).await, before, "a refused request changed something");
    })
    .await;
}

/// The rows' ids, but for one.
fn instead(rows: &Rows, place: &'static str, other: Uuid) -> impl Fn(&'static str) -> Uuid {
    move |name| if name == place { other } else { id_of(rows, name) }
}

#[tokio::test]
async fn another_accounts_id_answers_exactly_as_an_unknown_one() {
    world(|w| async move {
        let key = bearer(&w.alice);
        for operation in operations::all().iter().filter(|it| !it.public && !it.ids().is_empty()) {
            let (theirs, rows) = (rows_of(&w, &w.bob).await, rows_of(&w, &w.alice).await);
            prepare(&w, operation, &rows).await;
            prepare(&w, operation, &theirs).await;
            let before = estate(&w, theirs.account_id).await;
            for place in operation.ids() {
                let what = format!("{} {} with another's {place}", operation.method, operation.route);
                let foreign = instead(&rows, place, id_of(&theirs, place));
                let foreign = operation.send(&w, &[&key], foreign).await;
                let unknown = operation.send(&w, &[&key], instead(&rows, place, new_id())).await;
                assert_eq!(bytes(&foreign), bytes(&unknown), "{what}");
                if !operation.filters_by(place) {
                    assert_eq!(foreign.status_code(), StatusCode::NOT_FOUND, "{what}: {}", foreign.text());
                }
            }
            let foreign = operation.send(&w, &[&key], |name| id_of(&theirs, name)).await;
            let unknown = operation.send(&w, &[&key], |_| new_id()).await;
            assert_eq!(bytes(&foreign), bytes(&unknown), "{} {}", operation.method, operation.route);
            let after = estate(&w, theirs.account_id).await;
            assert_eq!(after, before, "{} {} changed another's row", operation.method, operation.route);
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_below_another_campaign_of_the_same_account_is_not_found_there() {
    world(|w| async move {
        let key = bearer(&w.alice);
        for operation in operations::all().iter().filter(|it| !it.public) {
            let (rows, sibling) = (rows_of(&w, &w.alice).await, rows_of(&w, &w.alice).await);
            let below = operation.ids().into_iter().filter(|name| operation.in_path(name));
            let below: Vec<_> = below.filter(|name| *name != "campaign").collect();
            if !operation.in_path("campaign") {
                continue;
            }
            for place in below {
                let answer = operation.send(&w, &[&key], instead(&rows, place, id_of(&sibling, place))).await;
                let what = format!("{} {}", operation.method, operation.route);
                assert_eq!(answer.status_code(), StatusCode::NOT_FOUND, "{what}: {}", answer.text());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_is_a_position_whoever_owns_the_row() {
    world(|w| async move {
        let key = bearer(&w.alice);
        let rows = rows_of(&w, &w.alice).await;
        let theirs = rows_of(&w, &w.bob).await;
        rows_of(&w, &w.alice).await;
        let mut lists = 0;
        for operation in operations::all().iter().filter(|it| !it.public && it.method == Method::GET) {
            let id = |name| id_of(&rows, name);
            let first = operation.send(&w, &[&key], id).await;
            if !first.json::<Value>().is_array() {
                continue;
            }
            lists += 1;
            for name in operations::NAMES {
                let cursor = id_of(&theirs, name);
                // The next id: in the same place of any list, and nobody's.
                let beside = Uuid::from_u128(cursor.as_u128() ^ 1);
                let after = |id| format!("{}limit=2&after={id}", operation.query_mark());
                let foreign = operation.send_to(&w, &[&key], id, &after(cursor)).await;
                let unknown = operation.send_to(&w, &[&key], id, &after(beside)).await;
                let what = format!("{} after their {name}", operation.route);
                assert_eq!(foreign.status_code(), StatusCode::OK, "{what}: {}", foreign.text());
                assert_eq!(bytes(&foreign), bytes(&unknown), "{what}");
            }
        }
        assert!(lists >= 6, "only {lists} lists were asked");
    })
    .await;
}
