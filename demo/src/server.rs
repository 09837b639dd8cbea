//! The application inside this process: a new SQLite file, a free port, the engine embedded.

use std::{net::SocketAddr, path::Path, time::Duration};

use ampout::{app::App, engine};
use loco_rs::{
    app::{AppContext, Hooks},
    boot::{ServeParams, StartMode},
    config::Config,
    environment::Environment,
};
use testkit::{child::free_port, wait::eventually};
use tokio::{net::TcpStream, task::JoinSet};

use crate::Error;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// The running application.
pub struct Server {
    /// Where its API is.
    pub url: String,
    ctx: AppContext,
    _serving: JoinSet<loco_rs::Result<()>>,
}

impl Server {
    /// Starts it on a database in `dir`, and waits until it listens.
    ///
    /// # Errors
    /// What stops the application's start.
    pub async fn start(dir: &Path) -> Result<Self, Error> {
        let port = free_port()?;
        let url = format!("http://localhost:{port}");
        let boot =
            App::boot(StartMode::ServerOnly, &Environment::Development, config(dir, port, &url)?).await?;
        let router = boot.router.ok_or("the application has no routes")?;
        let ctx = boot.app_context.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let params = ServeParams { port: port.into(), binding: "127.0.0.1".to_owned() };
            App::serve(router, &boot.app_context, &params).await
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(READY_WITHIN, || async move { TcpStream::connect(address).await.ok() }).await?;
        Ok(Self { url, ctx, _serving: serving })
    }

    /// Lets the engine finish, and ends.
    pub async fn stop(self) {
        engine::stop_embedded(&self.ctx).await;
    }
}

/// The development settings, but for what must not be shared with an application that runs here already.
fn config(dir: &Path, port: u16, url: &str) -> Result<Config, Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut config = Environment::Development.load_from_folder(&folder)?;
    config.server.port = port.into();
    config.database.uri = format!("sqlite://{}?mode=rwc", dir.join("ampout.sqlite").display());
    config.database.auto_migrate = true;
    let settings = config.settings.as_mut().and_then(|settings| settings.as_object_mut());
    let settings = settings.ok_or("config/development.yaml has no settings")?;
    let key_file = dir.join("master.key").display().to_string();
    for (name, value) in [
        ("public_url", url),
        ("master_key", ""),
        ("master_key_file", key_file.as_str()),
        ("allow_private_networks", "true"),
        ("allow_plain_mail", "true"),
        ("engine_embedded", "true"),
        ("rate_limit_per_minute", "1000000"),
    ] {
        settings.insert(name.to_owned(), value.into());
    }
    Ok(config)
}
