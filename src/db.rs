//! The connection pool and the one way to begin a write.
//!
//! Loco's own pool sets its SQLite pragmas on one connection only and pings before every use; this one sets them on
//! every connection. SQLite has one writer: writers of this process queue fairly here instead of polling the file lock,
//! and share one connection, whose pages stay at hand (ADR 1).

mod sql;
mod transaction;
mod writer;

use std::{io, time::Duration};

use loco_rs::config;
use sea_orm::{
    AccessMode, ConnAcquireErr, ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr,
    IsolationLevel, SqliteTransactionMode, SqlxPostgresConnector, TransactionOptions, TransactionTrait,
    sqlx::{
        self, Connection, PgConnection,
        sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous},
    },
};

use self::writer::Writer;
pub use self::{sql::Sql, transaction::WriteTx, writer::leave};

/// Connections of one who writes apart: one at a time, and others in place of those that fell silent.
const APART: u32 = 4;
/// How long a writer of SQLite waits for the writer of another process, or for what a writer of this one left running.
const BUSY: Duration = Duration::from_secs(10);
/// Page cache of a connection that reads, in KiB (negative by SQLite's convention). Another's commit empties it, so that
/// it serves little more than a statement; what is not in it is in the system's cache.
const READER_CACHE: &str = "-2000";
/// Page cache of the one that writes. Imports were no faster with twice as much.
const WRITER_CACHE: &str = "-16000";

/// Pages of the write-ahead log, 32 MB, at which a commit brings it into the database. SQLite's own 1,000 make nearly every
/// slice of an import write the same pages of its indexes again.
const CHECKPOINT_PAGES: &str = "8000";

/// Rows that the thread of a connection may read ahead of whoever takes them: the longest page.
const ROWS_AHEAD: usize = 1_001;

/// A process whose machine is gone without a word leaves its locks to a server that would wait for hours; and whoever waits
/// for such a lock is told so and asks again, instead of keeping what else it has locked.
const POSTGRES_PATIENCE: &str = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '5s'";

/// How long work that is short may take: longer than any that waits its turn, shorter than TCP's patience.
const SILENCE: Duration = Duration::from_secs(60);

/// How long an answer is waited for that nobody wants any more, before its connection is given up.
const HEAR_OUT: Duration = Duration::from_secs(5);

/// SQLite ends a transaction by itself when the disk is full or broken
/// (<https://www.sqlite.org/lang_transaction.html>, section 3). The driver's own ROLLBACK fails then, and it goes on
/// counting from inside a transaction: its next BEGIN would be a savepoint, and its COMMIT none.
fn is_between_transactions(connection: &SqliteConnection) -> bool {
    !connection.is_in_transaction()
}

/// Before a connection goes back to its pool: whoever used it may have gone before the answer came. The driver waits for
/// that without an end, and where the server's machine is gone without a word, the connection would keep its place until
/// TCP gives it up. This asks nothing where no answer is due; the driver itself then asks whether the server is there, and
/// that alone has no end.
async fn hear_out(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let silence = |_| sqlx::Error::Io(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(HEAR_OUT, connection.flush()).await.map_err(silence)?.map(|()| true)
}

/// Gives up a database that says nothing for [`SILENCE`]: for statements and transactions that are short by what they do,
/// of loops that would stand still. Of a commit nobody knows then.
///
/// # Errors
/// Those of the work, and a time-out as of a connection that is not to be had.
pub async fn in_time<T, E: From<DbErr>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let silence = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout).into());
    tokio::time::timeout(SILENCE, work).await.unwrap_or_else(silence)
}

/// Opens the pool.
///
/// # Errors
/// When the database cannot be reached.
pub async fn connect(config: &config::Database) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(&config.uri);
    options
        .max_connections(config.max_connections)
        .min_connections(config.min_connections)
        .connect_timeout(Duration::from_millis(config.connect_timeout))
        .acquire_timeout(Duration::from_millis(config.acquire_timeout.unwrap_or(5_000)))
        .idle_timeout(Duration::from_millis(config.idle_timeout))
        .sqlx_logging(config.enable_logging)
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(POSTGRES_PATIENCE).execute(connection).await.map(drop) })
            })
            .after_release(|connection, _| Box::pin(hear_out(connection)))
        })
        .map_sqlx_sqlite_before_acquire(|connection, _| {
            let usable = is_between_transactions(connection);
            Box::pin(async move { Ok(usable) })
        })
        .map_sqlx_sqlite_opts(|sqlite| {
            // FULL: with NORMAL a power cut can undo a committed mark, and that doubles a mail.
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY)
                .row_buffer_size(ROWS_AHEAD)
                .foreign_keys(true)
                .pragma("cache_size", READER_CACHE)
                .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
                .pragma("temp_store", "memory")
                .optimize_on_close(true, None)
        });
    Database::connect(options).await
}

/// The pool together with the connection of its own that this process writes on: to SQLite, and apart.
#[derive(Clone, Debug)]
pub struct Db {
    pool: DatabaseConnection,
    writer: Option<Writer>,
}

impl Db {
    /// Wraps an open pool.
    pub fn new(pool: DatabaseConnection) -> Self {
        let writer = (pool.get_database_backend() == DbBackend::Sqlite).then(|| Writer::beside(&pool));
        Self { pool, writer }
    }

    /// The same database through few connections of its own, for one who writes often and one thing after the other: what
    /// it says stays prepared there. Each begins with these settings of PostgreSQL. On SQLite there is such a connection
    /// anyway.
    #[must_use]
    pub fn apart(&self, settings: &'static str) -> Self {
        if self.backend() != DbBackend::Postgres {
            return self.clone();
        }
        let shared = self.pool.get_postgres_connection_pool();
        let few =
            shared.options().clone().min_connections(0).max_connections(APART).test_before_acquire(false);
        let few = few.after_connect(move |connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(POSTGRES_PATIENCE).execute(&mut *connection).await?;
                sqlx::raw_sql(settings).execute(connection).await.map(drop)
            })
        });
        let few = few.connect_lazy_with(shared.connect_options().as_ref().clone());
        let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(few);
        Self { writer: Some(Writer::of(pool.clone())), pool }
    }

    /// For reading outside a transaction.
    pub const fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// Which database it is.
    pub fn backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(&self) -> Result<WriteTx, DbErr> {
        self.begin_as(false).await
    }

    /// Begins one that is short: on SQLite, those that wait for each other share a commit. It sees what the others did and
    /// is undone alone; a statement in it must never end the transaction (`OR ROLLBACK`), and one that failed must fail it.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn begin_short(&self) -> Result<WriteTx, DbErr> {
        self.begin_as(self.backend() == DbBackend::Sqlite).await
    }

    async fn begin_as(&self, together: bool) -> Result<WriteTx, DbErr> {
        match &self.writer {
            Some(writer) => writer.begin(together).await,
            None => Ok(WriteTx::alone(self.pool.begin_with_options(writer::to_write()).await?)),
        }
    }
}

impl Db {
    /// Begins a transaction that only reads, and sees the data as it was at its first look however long it lasts. It
    /// keeps nobody from writing.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn snapshot(&self) -> Result<WriteTx, DbErr> {
        let postgres = self.backend() == DbBackend::Postgres;
        let options = TransactionOptions {
            isolation_level: postgres.then_some(IsolationLevel::RepeatableRead),
            access_mode: postgres.then_some(AccessMode::ReadOnly),
            sqlite_transaction_mode: Some(SqliteTransactionMode::Deferred),
        };
        Ok(WriteTx::alone(self.pool.begin_with_options(options).await?))
    }
}

/// SQL for the database's own clock in microseconds since the epoch: leases of several processes are compared by it.
pub const fn clock_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        DbBackend::Sqlite | DbBackend::MySql | _ => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
    }
}

/// Row locks exist on PostgreSQL only; on SQLite the writer's lock covers everything.
pub const fn lock_sql(backend: DbBackend, lock: RowLock) -> &'static str {
    match (backend, lock) {
        (DbBackend::Postgres, RowLock::Update) => " FOR UPDATE",
        (DbBackend::Postgres, RowLock::UpdateSkipLocked) => " FOR UPDATE SKIP LOCKED",
        (DbBackend::Postgres, RowLock::Share) => " FOR SHARE",
        _ => "",
    }
}

/// Locks a row of which only what no foreign key points at is changed: rows that refer to it are stored meanwhile.
pub const fn key_lock_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => " FOR NO KEY UPDATE",
        DbBackend::Sqlite | DbBackend::MySql | _ => "",
    }
}

/// How rows of a SELECT are locked until the end of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLock {
    /// Nobody else may lock or change them.
    Update,
    /// The same, leaving out rows that somebody else holds.
    UpdateSkipLocked,
    /// Nobody may change them.
    Share,
}
