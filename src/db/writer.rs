//! The one connection that transactions take turns on which write: to SQLite, and apart. It is kept between them, and while
//! several short ones share a commit (ADR 17) also between their parts.

use std::{mem, sync::Arc};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, SqlxSqliteConnector, Statement, TransactionOptions, TransactionTrait,
    sqlx::sqlite::SqlitePoolOptions,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
};

use super::{
    BUSY, HEAR_OUT, WRITER_CACHE, is_between_transactions,
    transaction::{Left, Part, WriteTx},
};

/// Begins a part of a transaction that others have begun.
const BEGIN_PART: &str = "SAVEPOINT part";
/// Who waits for the commit of its part.
pub(super) type Told = oneshot::Sender<Result<(), DbErr>>;
/// Where the connection is between two transactions, and between two parts of one.
pub(super) type Shelf = Arc<Mutex<Option<Arc<Kept>>>>;
/// The right to use it.
pub(super) type Turn = OwnedMutexGuard<Option<Arc<Kept>>>;

/// A connection that is kept. Dropped while its transaction is open, that is undone, and who waits for it hears so.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) connection: DatabaseTransaction,
    /// Whose parts of the open transaction are done. Where there are none, it is between two transactions.
    pub(super) waiting: parking_lot::Mutex<Vec<Told>>,
}

impl Kept {
    fn of(connection: DatabaseTransaction) -> Arc<Self> {
        Arc::new(Self { connection, waiting: parking_lot::Mutex::default() })
    }

    fn is_open(&self) -> bool {
        !self.waiting.lock().is_empty()
    }
}

/// One connection for transactions that take turns, in the order in which they asked for it.
///
/// It is kept out of its pool from one transaction to the next, and the words that begin and end one are said as statements:
/// the pool asks each connection that comes back whether it is alive, and who waits for its turn would wait for that too.
/// Kept is only a connection on which a transaction ended as it was told to; any other goes back to its pool, which undoes
/// what is open and replaces what is broken.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pool: DatabaseConnection,
    shelf: Shelf,
}

impl Writer {
    pub(super) fn of(pool: DatabaseConnection) -> Self {
        Self { pool, shelf: Shelf::default() }
    }

    /// A connection like those of a SQLite pool, opened at the first write. A pool of one: what breaks is replaced.
    pub(super) fn beside(readers: &DatabaseConnection) -> Self {
        let readers = readers.get_sqlite_connection_pool();
        let options = readers.connect_options().as_ref().clone().pragma("cache_size", WRITER_CACHE);
        // Whoever waits for the next connection would wait for that.
        let options = options.optimize_on_close(false, None);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY.max(readers.options().get_acquire_timeout()))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                let usable = is_between_transactions(connection);
                Box::pin(async move { Ok(usable) })
            })
            .connect_lazy_with(options);
        Self::of(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
    }

    /// Begins a transaction when its turn has come, `together`: as a part of one that others have begun so.
    pub(super) async fn begin(&self, together: bool) -> Result<WriteTx, DbErr> {
        let mut turn = Arc::clone(&self.shelf).lock_owned().await;
        if turn.as_ref().is_some_and(|kept| kept.is_open()) {
            if together && let Some(kept) = turn.take() {
                // Whoever goes away while it joins leaves the others what is theirs.
                let mut part = self.part(kept, turn, true, Left::Nothing);
                if say(&part.kept.connection, BEGIN_PART).await.is_ok() {
                    part.left = Left::Part;
                    return Ok(WriteTx::in_turn(part));
                }
                // The others hear that theirs is undone, and this one begins anew.
                part.left = Left::Whole;
                turn = part.turn.take().ok_or_else(lost)?;
            } else {
                turn = apart(conclude(turn)).await?;
            }
        }
        let kept = match turn.take() {
            Some(kept) => again(kept).await?,
            None => None,
        };
        let kept = match kept {
            Some(kept) => kept,
            None => Kept::of(self.pool.begin_with_options(to_write()).await?),
        };
        Ok(WriteTx::in_turn(self.part(kept, turn, together, Left::Whole)))
    }

    fn part(&self, kept: Arc<Kept>, turn: Turn, together: bool, left: Left) -> Part {
        Part::new(kept, turn, Arc::clone(&self.shelf), together, left)
    }
}

/// Begins another transaction on a connection that was kept. `None`: PostgreSQL's was lost meanwhile.
async fn again(kept: Arc<Kept>) -> Result<Option<Arc<Kept>>, DbErr> {
    if kept.connection.get_database_backend() == DbBackend::Sqlite {
        return say(&kept.connection, "BEGIN IMMEDIATE").await.map(|()| Some(kept));
    }
    // It waits for no lock: where no answer comes, something between here and the server has forgotten the connection.
    let begun = matches!(tokio::time::timeout(HEAR_OUT, say(&kept.connection, "BEGIN")).await, Ok(Ok(())));
    if !begun {
        tracing::debug!("a connection was lost between two transactions");
    }
    Ok(begun.then_some(kept))
}

/// Says what begins or ends a transaction, without the driver's knowledge.
#[expect(clippy::disallowed_methods, reason = "transactions begin and end here")]
pub(super) async fn say(connection: &DatabaseTransaction, words: &str) -> Result<(), DbErr> {
    let words = Statement::from_string(connection.get_database_backend(), words);
    connection.execute_raw(words).await.map(drop)
}

/// `BEGIN IMMEDIATE` on SQLite, because a transaction that reads first and writes later fails at once when another
/// connection wrote in between.
pub(super) fn to_write() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

/// Whoever had it did not get to an end; nothing of it is stored, or nobody knows.
pub(super) const fn lost() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
}

/// Commits what waits for it, if anything does, and tells. The connection is kept if that worked.
pub(super) async fn conclude(mut turn: Turn) -> Turn {
    let Some(kept) = turn.take_if(|kept| kept.is_open()) else { return turn };
    let ended = say(&kept.connection, "COMMIT").await;
    let waiting = mem::take(&mut *kept.waiting.lock());
    if ended.is_ok() {
        *turn = Some(kept);
    }
    for told in waiting {
        // Whoever went is not told.
        drop(told.send(ended.clone()));
    }
    turn
}

/// To its end, whatever becomes of the one who waits: others wait for it too.
#[expect(clippy::disallowed_methods, reason = "a commit or less, and the writer's turn until then")]
pub(super) async fn apart<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, DbErr> {
    tokio::spawn(work).await.map_err(|_| lost())
}

/// Does it apart for one who cannot wait: what follows where something is dropped. Without a runtime the process is at its
/// end, and so is the transaction.
pub fn leave(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(work));
    }
}
