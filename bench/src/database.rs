//! The database of one run: a new SQLite file, or a new database on a PostgreSQL server, removed afterwards.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database as SeaOrm};

use crate::Error;

/// A database that only this run uses.
pub struct Database {
    /// Where the application finds it.
    pub url: String,
    /// The server's own address and the name of what was made there.
    made: Option<(String, String)>,
}

/// Makes it.
///
/// # Errors
/// The server cannot be reached or does not let us.
pub async fn create(server: Option<&str>, file: &Path) -> Result<Database, Error> {
    let Some(server) = server else {
        return Ok(Database { url: format!("sqlite://{}?mode=rwc", file.display()), made: None });
    };
    let name = format!("ampout_bench_{}", std::process::id());
    let (address, query) = server.split_once('?').unwrap_or((server, ""));
    let (base, _) = address.rsplit_once('/').ok_or("the URL names no database")?;
    run(server, &format!("CREATE DATABASE {name}")).await?;
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    Ok(Database { url: format!("{base}/{name}{query}"), made: Some((server.to_owned(), name)) })
}

impl Database {
    /// Which of the two it is.
    pub const fn kind(&self) -> &'static str {
        if self.made.is_some() { "postgresql" } else { "sqlite" }
    }

    /// Lets every plan send as much as it likes.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn lift_limits(&self) -> Result<(), Error> {
        run(&self.url, "UPDATE plans SET monthly_limit = 1000000000").await
    }

    /// Removes it from the server; a file goes with its directory.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn remove(self) -> Result<(), Error> {
        match self.made {
            Some((server, name)) => run(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await,
            None => Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the benchmark's own database, in which there are no tenants")]
async fn run(url: &str, sql: &str) -> Result<(), Error> {
    let connection = SeaOrm::connect(url).await?;
    connection.execute_unprepared(sql).await?;
    Ok(connection.close().await?)
}
