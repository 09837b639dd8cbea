//! The application that is measured: its own process, on a database of its own, without limits on requests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use testkit::{
    api::{Api, Error},
    child::{Child, free_port},
};

use crate::database::{self, Database};

/// Where and on what to run it.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// A PostgreSQL server on which a database of its own is made; without it a new SQLite file.
    #[arg(long, global = true)]
    database_url: Option<String>,
    /// The application; without it, the release build of this workspace.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
    /// The longest that a part may take, in seconds.
    #[arg(long, global = true, default_value_t = 600)]
    within_seconds: u64,
}

/// The running application.
pub struct App {
    child: Child,
    /// Its database.
    pub database: Database,
    /// Where it listens.
    pub base: String,
    /// The longest that a part may take.
    pub within: Duration,
}

impl App {
    /// Starts it with `lanes` that may send at a time, and waits until it listens.
    ///
    /// # Errors
    /// It does not start, or the database cannot be made.
    pub async fn start(arguments: &Arguments, lanes: u16) -> Result<Self, Error> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let binary = arguments.binary.clone().unwrap_or_else(|| root.join("target/release/ampout"));
        let builder = Child::builder(std::path::absolute(&binary)?)?;
        let database =
            database::create(arguments.database_url.as_deref(), &builder.path("bench.sqlite")).await?;
        let port = free_port()?;
        let mut child = builder
            .arg("start")
            .env("LOCO_CONFIG_FOLDER", std::path::absolute(root.join("config"))?)
            .env("DATABASE_URL", &database.url)
            .env("MASTER_KEY", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))
            .env("PORT", port.to_string())
            .env("LOG_LEVEL", "warn")
            .env("RATE_LIMIT_PER_MINUTE", "1000000000")
            .env("ENGINE_CONCURRENCY", lanes.to_string())
            .start()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        child.wait_for_port(address, Duration::from_secs(60)).await?;
        database.lift_limits().await?;
        let within = Duration::from_secs(arguments.within_seconds);
        Ok(Self { child, database, base: format!("http://{address}"), within })
    }

    /// A caller without a key.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn api(&self) -> Result<Api, Error> {
        Api::new(&self.base)
    }

    /// Its process.
    pub const fn pid(&self) -> i32 {
        self.child.id()
    }

    /// Ends it and removes its database.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.child.terminate()?;
        self.child.wait(Duration::from_secs(60)).await?;
        self.database.remove().await
    }
}
