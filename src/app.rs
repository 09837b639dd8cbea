//! Wiring only: which routes, middlewares, tasks and workers the application has, and in which order it starts.

use std::path::Path;

use async_trait::async_trait;
use axum::Router;
use loco_rs::{
    Result,
    app::{AppContext, Hooks, Initializer},
    bgworker::Queue,
    boot::{BootResult, ServeParams, StartMode, create_app, shutdown_signal},
    config::Config,
    controller::{AppRoutes, middleware::MiddlewareLayer},
    environment::Environment,
    task::Tasks,
};
use migration::Migrator;
use tokio::net::TcpListener;

use crate::{
    config, controllers, db, engine, errors,
    http::{
        self,
        serve::{HEAD_WITHIN, Waits},
        timeout::REQUEST_DEADLINE,
    },
    initializers,
    jobs::DbQueue,
    logging,
    state::AppState,
    tasks, workers,
};

/// The application.
#[derive(Debug)]
pub struct App;

#[async_trait]
impl Hooks for App {
    fn app_name() -> &'static str {
        env!("CARGO_CRATE_NAME")
    }

    fn app_version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    async fn load_config(environment: &Environment) -> Result<Config> {
        config::load(environment)
    }

    async fn boot(mode: StartMode, environment: &Environment, config: Config) -> Result<BootResult> {
        create_app::<Self, Migrator>(mode, environment, config).await
    }

    fn init_logger(ctx: &AppContext) -> Result<bool> {
        logging::install(&ctx.config.logger);
        Ok(true)
    }

    /// Runs twice in one `start`: it only replaces the pool, the queue and the form of the settings of the
    /// context it is given.
    async fn after_context(mut ctx: AppContext) -> Result<AppContext> {
        let settings = config::Settings::from_config(&ctx.config)
            .map_err(|error| loco_rs::Error::Message(error.to_string()))?;
        config::fold_settings(&mut ctx.config);
        ctx.db.clone().close().await?;
        ctx.db = db::connect(&ctx.config.database).await?;
        errors::set_docs_base(&settings.error_docs_base);
        let db = db::Db::new(ctx.db.clone());
        // Who else makes one has a second writer of SQLite.
        ctx.shared_store.insert(db.clone());
        let ctx = DbQueue::install(ctx, db, settings.engine.poll);
        workers::say_what_follows(&ctx);
        Ok(ctx)
    }

    async fn before_run(ctx: &AppContext) -> Result<()> {
        AppState::prepare(ctx).await.map(|_| ())
    }

    async fn initializers(_ctx: &AppContext) -> Result<Vec<Box<dyn Initializer>>> {
        Ok(initializers::all())
    }

    fn middlewares(ctx: &AppContext) -> Vec<Box<dyn MiddlewareLayer>> {
        http::fallback::stack(ctx)
    }

    fn routes(_ctx: &AppContext) -> AppRoutes {
        controllers::routes()
    }

    async fn connect_workers(ctx: &AppContext, queue: &Queue) -> Result<()> {
        workers::register(ctx, queue).await
    }

    fn register_tasks(tasks: &mut Tasks) {
        tasks::register(tasks);
    }

    async fn truncate(_ctx: &AppContext) -> Result<()> {
        Ok(())
    }

    async fn seed(ctx: &AppContext, _path: &Path) -> Result<()> {
        AppState::prepare(ctx).await.map(|_| ())
    }

    /// As Loco serves, and then what the last answers counted is stored: `on_shutdown` runs before they are given.
    async fn serve(app: Router, ctx: &AppContext, serve_params: &ServeParams) -> Result<()> {
        let address = format!("{}:{}", serve_params.binding, serve_params.port);
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|error| loco_rs::Error::Message(format!("PORT or BINDING: {address}: {error}")))?;
        let stopping = ctx.clone();
        let stopped = async move {
            shutdown_signal().await;
            tracing::info!("shutting down");
            Self::on_shutdown(&stopping).await;
        };
        let waits = Waits { head: HEAD_WITHIN, drain: REQUEST_DEADLINE };
        http::serve::serve(listener, app, waits, stopped).await;
        engine::stop_flusher(ctx).await;
        Ok(())
    }

    async fn on_shutdown(ctx: &AppContext) {
        engine::stop_embedded(ctx).await;
    }
}
