//! The database of one run: a new SQLite file, or a new database on a PostgreSQL server, removed afterwards.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database as SeaOrm, Statement};
use tokio::process::Command;

use crate::Error;

/// An event of the usual size.
const PAYLOAD: &str = r#"{"id":"019ab5c1-0000-7000-8000-000000000001","type":"enrollment.sent","created_at":"2026-11-24T11:06:40Z","account_id":"019ab5c1-0000-7000-8000-000000000002","data":{"enrollment_id":"019ab5c1-0000-7000-8000-000000000003","contact_id":"019ab5c1-0000-7000-8000-000000000004","contact_email":"person-123456@example.com","campaign_id":"019ab5c1-0000-7000-8000-000000000005","position":1,"status":"sent","sent_at":"2026-11-24T11:06:40Z","opened_at":null,"replied_at":null,"unsubscribed_at":null,"bounce_reason":null}}"#;

/// A database that only this run uses.
#[derive(Clone)]
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

    /// The first column of the first row of a query, as a number.
    ///
    /// # Errors
    /// What the database refuses, or there is no row.
    pub async fn number(&self, sql: &str) -> Result<i64, Error> {
        number(&self.url, sql).await
    }

    /// All columns of the first row of a query, as numbers.
    ///
    /// # Errors
    /// What the database refuses, or there is no row.
    pub async fn numbers(&self, sql: &str) -> Result<Vec<i64>, Error> {
        numbers(&self.url, sql).await
    }

    /// An id as a literal of this database.
    pub fn id(&self, hex: &str) -> String {
        let hex = hex.replace('-', "");
        if self.made.is_some() { format!("'{hex}'::uuid") } else { format!("x'{hex}'") }
    }

    /// Runs a statement behind the application.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn run(&self, sql: &str) -> Result<(), Error> {
        run(&self.url, sql).await
    }

    /// Has everything written to the disk that is still on its way there.
    ///
    /// # Errors
    /// What the database refuses: on a server of yours its user must be allowed to make checkpoints.
    pub async fn settle(&self) -> Result<(), Error> {
        let checkpoint = if self.made.is_some() { "CHECKPOINT" } else { "PRAGMA wal_checkpoint(TRUNCATE)" };
        self.run(checkpoint).await?;
        let synced = Command::new("sync").status().await?;
        if synced.success() { Ok(()) } else { Err("sync failed".into()) }
    }

    /// Writes events for a webhook, as the application does when something happens.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn write_events(&self, account: &str, webhook: &str, count: u64) -> Result<(), Error> {
        let since = std::time::UNIX_EPOCH.elapsed()?;
        let (account, webhook) = (self.id(account), self.id(webhook));
        let mut left = count;
        while left > 0 {
            let some = left.min(1_000);
            let rows: Vec<String> = (0..some)
                .map(|_| {
                    // Ids begin with the time, or they would be as old as the hills and swept away.
                    let random = rand::random::<u128>() >> 48;
                    let row = self.id(&format!("{:032x}", since.as_millis() << 80 | random));
                    format!(
                        "({row}, {account}, {webhook}, 'enrollment.sent', '{PAYLOAD}', 'pending', 0, {})",
                        since.as_micros()
                    )
                })
                .collect();
            let columns = "id, account_id, webhook_id, event_type, payload, state, due_at, created_at";
            self.run(&format!("INSERT INTO webhook_deliveries ({columns}) VALUES {}", rows.join(", ")))
                .await?;
            left -= some;
        }
        Ok(())
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

#[expect(clippy::disallowed_methods, reason = "the benchmark's own database, in which there are no tenants")]
async fn numbers(url: &str, sql: &str) -> Result<Vec<i64>, Error> {
    let connection = SeaOrm::connect(url).await?;
    let query = Statement::from_string(connection.get_database_backend(), sql.to_owned());
    let row = connection.query_one_raw(query).await?.ok_or("no row")?;
    let found = (0..row.column_names().len()).map(|at| {
        row.try_get_by_index::<i64>(at).or_else(|_| row.try_get_by_index::<i32>(at).map(i64::from))
    });
    let found = found.collect::<Result<_, _>>()?;
    connection.close().await?;
    Ok(found)
}

async fn number(url: &str, sql: &str) -> Result<i64, Error> {
    numbers(url, sql).await?.first().copied().ok_or_else(|| "no column".into())
}

/// Of SQLite as the application is built with it.
///
/// # Errors
/// It does not say.
#[expect(clippy::disallowed_methods, reason = "no data of anybody")]
pub async fn sqlite_version() -> Result<String, Error> {
    let connection = SeaOrm::connect("sqlite::memory:").await?;
    let query = Statement::from_string(connection.get_database_backend(), "SELECT sqlite_version()");
    let row = connection.query_one_raw(query).await?.ok_or("no row")?;
    Ok(row.try_get_by_index(0)?)
}
