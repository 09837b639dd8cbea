//! Every route that changes something takes an `Idempotency-Key`: sent twice, it answers the same twice.

use ampout::app::App;
use axum::http::{Method, StatusCode};
use axum_test::TestResponse;
use loco_rs::app::Hooks;

use super::operations::{self, Operation, id_of};
use crate::support::{Client, World, billing::paying_world as world, rows::Rows};

/// What others call and others choose the headers of.
const WITHOUT_KEY: [&str; 3] = ["/u/{token}", "/webhooks/stripe", "/inbound/smtp2go/{token}"];

async fn twice(w: &World, client: &Client, operation: &Operation, rows: &Rows) -> Vec<TestResponse> {
    let (path, body) = operation.filled(|name| id_of(rows, name));
    let mut answers = vec![];
    for _ in 0..2 {
        let mut request = w.server.method(operation.method.clone(), &path);
        if !operation.public {
            request = request.authorization_bearer(&client.key);
        }
        let request = request.add_header("idempotency-key", rows.campaign.id.to_string());
        answers.push(match &body {
            Some(body) => request.json(body).await,
            None => request.await,
        });
    }
    answers
}

#[tokio::test]
async fn every_route_that_changes_something_replays_its_key() {
    world(|w| async move {
        let routes = App::routes(&w.ctx).collect();
        let mutating = routes.iter().flat_map(|route| {
            let actions = route.actions.iter().filter(|method| !method.is_safe());
            actions.map(|method| (method.clone(), route.uri.clone()))
        });
        let described = operations::all();
        let mut walked = 0;
        for (method, route) in mutating.filter(|(_, route)| !WITHOUT_KEY.contains(&route.as_str())) {
            let operation = described.iter().find(|it| it.method == method && it.route == route).unwrap();
            // Each its own account: some have bounds on what they own.
            let client = Client::sign_up(&w.server, &format!("a{walked}@example.com")).await;
            let mut rows = Rows::of(client.account_id.parse().unwrap());
            rows.seal_passwords(&w.state().sealer);
            rows.store(&w.ctx.db).await;
            crate::support::billing::know_all(&w).await;
            for change in operation.before {
                w.sql(&format!("{change} WHERE id = $1"), [rows.campaign.id.into()]).await;
            }
            let answers = twice(&w, &client, operation, &rows).await;
            let what = format!("{method} {route}: {}", answers[0].text());
            assert!(answers[0].status_code().is_success(), "{what}");
            assert_eq!(answers[0].status_code(), answers[1].status_code(), "{what}");
            assert_eq!(answers[0].as_bytes(), answers[1].as_bytes(), "{what}");
            assert!(answers[0].maybe_header("idempotent-replayed").is_none(), "{what}");
            assert_eq!(answers[1].header("idempotent-replayed"), "true", "{what}");
            walked += 1;
        }
        assert!(walked >= 20, "only {walked} routes were walked");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_malformed_is_refused_on_every_route_that_changes_something() {
    world(|w| async move {
        let rows = Rows::of(w.alice.account_id.parse().unwrap());
        let walked = operations::all();
        let walked = walked.iter().filter(|it| it.method != Method::GET && !WITHOUT_KEY.contains(&it.route));
        for operation in walked {
            let (path, body) = operation.filled(|name| id_of(&rows, name));
            let request = w.server.method(operation.method.clone(), &path);
            let request =
                request.authorization_bearer(&w.alice.key).add_header("idempotency-key", "two words");
            let answer = match &body {
                Some(body) => request.json(body).await,
                None => request.await,
            };
            assert_eq!(
                answer.status_code(),
                StatusCode::BAD_REQUEST,
                "{}: {}",
                operation.route,
                answer.text()
            );
        }
    })
    .await;
}
