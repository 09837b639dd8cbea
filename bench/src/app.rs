//! The application that is measured: processes of its own, on a database of its own, without limits on requests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use testkit::{
    api::{Api, Error},
    child::{Builder, Child, free_port},
    postgres::{Postgres, programs},
};

use crate::{
    database::{self, Database},
    process::{self, Used},
};

/// How long a start or a stop may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where and on what to run it.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// On a PostgreSQL server that is made for the run with its default settings, and removed afterwards. Its processor
    /// time is counted too.
    #[arg(long, global = true)]
    pub postgres: bool,
    /// On this PostgreSQL server, on a database of its own. Without this and `--postgres` a new SQLite file.
    #[arg(long, global = true, conflicts_with = "postgres")]
    database_url: Option<String>,
    /// The application; without it, the `ampout` beside this program.
    #[arg(long, global = true)]
    pub binary: Option<PathBuf>,
    /// The longest that a part may take, in seconds.
    #[arg(long, global = true, default_value_t = 600)]
    pub within_seconds: u64,
}

impl Arguments {
    /// The application.
    ///
    /// # Errors
    /// Nobody knows where this program is.
    pub fn program(&self) -> Result<PathBuf, Error> {
        let beside = std::env::current_exe()?.with_file_name("ampout");
        Ok(std::path::absolute(self.binary.as_ref().unwrap_or(&beside))?)
    }
}

/// The running application.
pub struct App {
    builder: Builder,
    child: Child,
    server: Option<Postgres>,
    port: u16,
    /// Its database.
    pub database: Database,
    /// Where it listens.
    pub base: String,
    /// The longest that a part may take.
    pub within: Duration,
}

impl App {
    /// Starts it with these variables, and waits until it listens.
    ///
    /// # Errors
    /// It does not start, or the database cannot be made.
    pub async fn start(arguments: &Arguments, variables: &[(&str, &str)]) -> Result<Self, Error> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let builder = Child::builder(arguments.program()?)?;
        let server = match (arguments.postgres, programs()) {
            (false, _) => None,
            (true, None) => return Err("no PostgreSQL server is installed".into()),
            (true, Some(programs)) => Some(Postgres::start(&programs, &[]).await?),
        };
        let own = server.as_ref().map(|server| server.url("postgres"));
        let url = own.as_deref().or(arguments.database_url.as_deref());
        let database = database::create(url, &builder.path("bench.sqlite")).await?;
        let port = free_port()?;
        let builder = builder
            .env("LOCO_CONFIG_FOLDER", std::path::absolute(root.join("config"))?)
            .env("DATABASE_URL", &database.url)
            .env("MASTER_KEY", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))
            .env("PORT", port.to_string())
            .env("LOG_LEVEL", "warn")
            .env("RATE_LIMIT_PER_MINUTE", "1000000000")
            .env("SIGNUPS_PER_HOUR", "1000000");
        let builder = variables.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value));
        let mut child = builder.clone().arg("start").start()?;
        listens(&mut child, port).await?;
        database.lift_limits().await?;
        let within = Duration::from_secs(arguments.within_seconds);
        let base = format!("http://127.0.0.1:{port}");
        Ok(Self { builder, child, server, port, database, base, within })
    }

    /// Another process that sends, on the same database.
    ///
    /// # Errors
    /// It does not start.
    pub fn engine(&self) -> Result<Child, Error> {
        Ok(self.builder.clone().arg("task").arg("engine").start()?)
    }

    /// Kills it as a loss of power would, and starts it again.
    ///
    /// # Errors
    /// It does not start.
    pub async fn kill_and_start(&mut self) -> Result<(), Error> {
        self.child.kill_9().await?;
        self.child = self.builder.clone().arg("start").start()?;
        listens(&mut self.child, self.port).await
    }

    /// Ends the database's server without a word to its clients and starts it again; `false` where it is not ours.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_database(&mut self) -> Result<bool, Error> {
        let Some(server) = &mut self.server else { return Ok(false) };
        server.restart().await?;
        Ok(true)
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

    /// What it and its database's server have used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn used(&self) -> Result<Used, Error> {
        let server = self.server.as_ref().map(|server| process::cpu_of_family(server.pid())).transpose()?;
        Ok(Used { app: process::Usage::of(self.pid())?, server })
    }

    /// Ends it and removes its database.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.child.terminate()?;
        self.child.wait(DEADLINE).await?;
        self.database.remove().await?;
        match self.server {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }
}

async fn listens(child: &mut Child, port: u16) -> Result<(), Error> {
    Ok(child.wait_for_port(SocketAddr::from(([127, 0, 0, 1], port)), DEADLINE).await?)
}
