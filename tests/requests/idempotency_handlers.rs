//! Keys of requests whose handlers are of this test, behind the application's own middlewares. What fails on our side is
//! no answer to keep: the key is free for the same request, which runs again. A twin of one that runs waits.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ampout::{
    errors::{ApiError, ApiResult},
    http::{NoFields, Outside, Write, fallback},
    models::outreaches::{Entity, Model},
};
use axum::{
    Extension, Json, Router,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::post,
};
use axum_test::{TestResponse, TestServer};
use serde_json::{Value, json};
use testkit::wait::eventually;

use crate::support::{World, campaign::DEADLINE, world};

/// A request that carries it finds us unwell.
const UNWELL: &str = "x-unwell";

fn fault(headers: &HeaderMap) -> ApiResult<()> {
    if headers.contains_key(UNWELL) { Err(ApiError::unavailable("a database that restarts")) } else { Ok(()) }
}

/// Has an effect before it fails.
async fn written(headers: HeaderMap, write: Write<NoFields>) -> ApiResult<Json<Value>> {
    let row = Model {
        id: ampout::clock::new_id(),
        account_id: write.scope.account_id(),
        name: "One".to_owned(),
        unique_contacts: false,
        created_at: ampout::clock::Timestamp::now(),
    };
    write.scope.insert::<Entity>(row).await?;
    fault(&headers)?;
    Ok(Json(json!({ "done": true })))
}

async fn outside(headers: HeaderMap, outside: Outside<NoFields>) -> ApiResult<Response> {
    let outcome = fault(&headers);
    outside.errand.run(|run| async move { outcome.map(|()| Json(json!({ "run": run }))) }).await
}

/// Handlers that were entered, and what lets them go on.
#[derive(Clone)]
struct Gate {
    entered: Arc<AtomicUsize>,
    open: Arc<tokio::sync::Semaphore>,
}

async fn held(Extension(gate): Extension<Gate>, _: Write<NoFields>) -> ApiResult<Json<Value>> {
    gate.entered.fetch_add(1, Ordering::SeqCst);
    let _open = gate.open.acquire().await;
    Ok(Json(json!({ "done": true })))
}

fn served(w: &World) -> (TestServer, Gate) {
    let routes = Router::new().route("/written", post(written)).route("/outside", post(outside));
    let routes = routes.route("/other", post(outside));
    let gate = Gate { entered: Arc::default(), open: Arc::new(tokio::sync::Semaphore::new(0)) };
    let routes = routes.route("/held", post(held)).layer(Extension(gate.clone()));
    let app = fallback::stack(&w.ctx).iter().fold(routes, |app, layer| layer.apply(app).unwrap());
    let app = app.with_state(w.ctx.clone());
    (TestServer::new(app.into_make_service_with_connect_info::<SocketAddr>()).unwrap(), gate)
}

async fn ask(w: &World, server: &TestServer, path: &str, unwell: bool) -> TestResponse {
    let request = server.post(path).authorization_bearer(&w.alice.key).add_header("idempotency-key", "k1");
    if unwell { request.add_header(UNWELL, "yes").await } else { request.await }
}

fn replayed(answer: &TestResponse) -> bool {
    answer.maybe_header("idempotent-replayed").is_some()
}

const ANSWERS: &str = "SELECT count(*) FROM idempotency_keys WHERE status IS NOT NULL";

#[tokio::test]
async fn a_503_is_not_kept_and_its_effects_are_gone() {
    world(|w| async move {
        let (server, _) = served(&w);
        for _ in 0..2 {
            let refused = ask(&w, &server, "/written", true).await;
            assert_eq!((refused.status_code(), replayed(&refused)), (StatusCode::SERVICE_UNAVAILABLE, false));
            assert!(refused.maybe_header("retry-after").is_some());
            assert_eq!(w.number("SELECT count(*) FROM idempotency_keys", []).await, 0);
            assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 0);
        }
        let (well, again) =
            (ask(&w, &server, "/written", false).await, ask(&w, &server, "/written", true).await);
        assert_eq!((well.status_code(), replayed(&well)), (StatusCode::OK, false), "{}", well.text());
        assert_eq!((again.status_code(), replayed(&again)), (StatusCode::OK, true), "{}", again.text());
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_503_of_outside_work_is_not_kept_and_the_key_serves_the_same_request_only() {
    world(|w| async move {
        let (server, _) = served(&w);
        let refused = ask(&w, &server, "/outside", true).await;
        assert_eq!((refused.status_code(), replayed(&refused)), (StatusCode::SERVICE_UNAVAILABLE, false));
        assert_eq!(w.number(ANSWERS, []).await, 0);
        // Nobody knows what the outside has done: under another request its run id would name something else.
        let other = ask(&w, &server, "/other", false).await;
        assert_eq!(other.status_code(), StatusCode::CONFLICT, "{}", other.text());
        let held = w.ids("SELECT run_id FROM idempotency_keys", []).await;
        let (well, again) =
            (ask(&w, &server, "/outside", false).await, ask(&w, &server, "/outside", true).await);
        assert_eq!((well.status_code(), replayed(&well)), (StatusCode::OK, false), "{}", well.text());
        assert_eq!(well.json::<Value>()["run"], json!(held[0]), "the same run goes on");
        assert_eq!((again.status_code(), replayed(&again)), (StatusCode::OK, true));
        assert_eq!(again.as_bytes(), well.as_bytes());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_does_not_begin_while_the_first_runs() {
    world(|w| async move {
        let (server, gate) = served(&w);
        let twins = futures_util::future::join_all((0..5).map(|_| ask(&w, &server, "/held", false)));
        let open = async {
            let entered = || async { (gate.entered.load(Ordering::SeqCst) > 0).then_some(()) };
            eventually(DEADLINE, entered).await.unwrap();
            gate.open.add_permits(5);
        };
        let (answers, ()) = tokio::join!(twins, open);
        assert_eq!(gate.entered.load(Ordering::SeqCst), 1);
        assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
        assert!(answers.iter().all(|answer| answer.as_bytes() == answers[0].as_bytes()));
    })
    .await;
}
