//! The booted application with two accounts that look alike, so that a missing filter shows as a wrong count.

use std::{future::Future, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use ampout::{app::App, crypto, db::Db, state::AppState};
use axum_test::{TestResponse, TestServer};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::FutureExt;
use loco_rs::{
    app::{AppContext, Hooks},
    boot::StartMode,
    environment::Environment,
};
use sea_orm::{ConnectionTrait, Statement, Value};
use serde_json::{Value as Json, json};

use super::{Database, conformance::Conformance};

/// What a test is given.
#[derive(Clone)]
pub struct World {
    /// The application without a network.
    pub server: Arc<TestServer>,
    /// Its context.
    pub ctx: AppContext,
    /// How another process reaches the same database, and opens its secrets.
    pub environment: Vec<(&'static str, String)>,
    /// An account.
    pub alice: Client,
    /// Another account.
    pub bob: Client,
    /// Holds every answer against the document.
    pub conformance: Conformance,
}

/// Calls the API with the key of one account.
#[derive(Clone)]
pub struct Client {
    server: Arc<TestServer>,
    /// The account's id.
    pub account_id: String,
    /// Its first key.
    pub key: String,
}

impl Client {
    pub async fn sign_up(server: &Arc<TestServer>, email: &str) -> Self {
        let answer = server.post("/signup").json(&json!({ "email": email })).await;
        answer.assert_status(axum::http::StatusCode::CREATED);
        let body: Json = answer.json();
        Self {
            server: Arc::clone(server),
            account_id: body["account_id"].as_str().unwrap().to_owned(),
            key: body["api_key"]["plaintext"].as_str().unwrap().to_owned(),
        }
    }

    pub async fn get(&self, path: &str) -> TestResponse {
        self.server.get(path).authorization_bearer(&self.key).await
    }

    pub async fn post(&self, path: &str, body: &Json) -> TestResponse {
        self.server.post(path).authorization_bearer(&self.key).json(body).await
    }

    pub async fn patch(&self, path: &str, body: &Json) -> TestResponse {
        self.server.patch(path).authorization_bearer(&self.key).json(body).await
    }

    pub async fn delete(&self, path: &str) -> TestResponse {
        self.server.delete(path).authorization_bearer(&self.key).await
    }

    /// The body of a POST that must succeed.
    pub async fn made(&self, path: &str, body: &Json) -> Json {
        let answer = self.post(path, body).await;
        assert!(answer.status_code().is_success(), "POST {path}: {} {}", answer.status_code(), answer.text());
        answer.json()
    }

    /// The body of a GET that must succeed.
    pub async fn seen(&self, path: &str) -> Json {
        let answer = self.get(path).await;
        assert!(answer.status_code().is_success(), "GET {path}: {} {}", answer.status_code(), answer.text());
        answer.json()
    }
}

impl World {
    /// Keys, doors and settings.
    pub fn state(&self) -> AppState {
        AppState::of(&self.ctx).unwrap()
    }

    /// The database, for looking behind the API.
    pub fn db(&self) -> Db {
        self.state().db
    }

    /// Runs a statement behind the API; `$1` is the first value.
    pub async fn sql(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> u64 {
        let backend = self.ctx.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.ctx.db.execute_raw(statement).await.unwrap().rows_affected()
    }

    /// The first column of the first row, as a number.
    pub async fn number(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> i64 {
        let backend = self.ctx.db.get_database_backend();
        let row =
            self.ctx.db.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
        let row = row.unwrap();
        row.try_get_by_index::<i64>(0).or_else(|_| row.try_get_by_index::<i32>(0).map(i64::from)).unwrap()
    }
}

impl World {
    /// The first column of every row, as ids.
    pub async fn ids(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Vec<uuid::Uuid> {
        let backend = self.ctx.db.get_database_backend();
        let rows =
            self.ctx.db.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }
}

impl World {
    /// Another process of the same application, after the operator put a new master key before the old one.
    pub async fn with_new_master_key(&self) -> Arc<TestServer> {
        let value = |name: &str| {
            let found = self.environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone()).unwrap()
        };
        let new = BASE64_STANDARD.encode(crypto::random_bytes::<32>());
        let keys = format!("{new},{}", value("MASTER_KEY"));
        boot(&value("DATABASE_URL"), &keys, &[], &self.conformance).await.1
    }
}

/// Boots the application on a database that has its tables. Its answers are held against the document.
async fn boot(
    uri: &str,
    master_key: &str,
    variables: &[(&str, String)],
    conformance: &Conformance,
) -> (AppContext, Arc<TestServer>) {
    let mut config = App::load_config(&Environment::Test).await.unwrap();
    uri.clone_into(&mut config.database.uri);
    config.database.auto_migrate = false;
    config.database.max_connections = 6;
    if let Some(settings) = &mut config.settings {
        settings["master_key"] = json!(master_key);
        for (name, value) in variables {
            settings[name.to_lowercase()] = json!(value);
        }
    }
    let boot = App::boot(StartMode::ServerOnly, &Environment::Test, config).await.unwrap();
    let ctx = boot.app_context.clone();
    // What requests count is stored when a test says so.
    ampout::engine::stop_flusher(&ctx).await;
    let judge = conformance.clone();
    let follow = move |request, next| judge.clone().follow(request, next);
    let router = boot.router.unwrap().layer(axum::middleware::from_fn(follow));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    (ctx, Arc::new(TestServer::new(service).unwrap()))
}

/// Boots the application on a fresh database, without a running engine, and hands it to `test`.
pub async fn world<F, Fut>(test: F)
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = ()>,
{
    world_with(&[], test).await;
}

/// The same with these variables set, for this process and for those that a test starts.
pub async fn world_with<F, Fut>(variables: &[(&'static str, String)], test: F)
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = ()>,
{
    world_in(Database::create().await, variables, test).await;
}

/// The same in this database.
pub async fn world_in<F, Fut>(database: Database, variables: &[(&'static str, String)], test: F)
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = ()>,
{
    // RUST_LOG=ampout=debug shows what the application says while a test runs.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
    let master_key = BASE64_STANDARD.encode(crypto::random_bytes::<32>());
    let conformance = Conformance::default();
    let (ctx, server) = boot(&database.uri, &master_key, variables, &conformance).await;
    let alice = Client::sign_up(&server, "alice@example.com").await;
    let bob = Client::sign_up(&server, "bob@example.com").await;
    let mut environment = vec![("DATABASE_URL", database.uri.clone()), ("MASTER_KEY", master_key)];
    environment.extend_from_slice(variables);
    let judged = conformance.clone();
    let world = World { server, ctx: ctx.clone(), environment, alice, bob, conformance };
    let outcome = AssertUnwindSafe(test(world)).catch_unwind().await;
    ctx.db.clone().close().await.ok();
    database.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    judged.assert();
}
