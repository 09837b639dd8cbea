//! Transactions that write, and the one connection that they take turns on: to SQLite, and apart.
//!
//! Short transactions of SQLite that wait for each other share a commit (ADR 17): who has done its part leaves the
//! transaction open for the next in the queue and goes to its end, so that whoever finds the turn again first commits for all.

use std::{any::Any, mem, sync::Arc};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend,
    DbErr, IntoDatabaseExecutor, SqliteTransactionMode, SqlxSqliteConnector, Statement, TransactionOptions,
    TransactionTrait, sqlx::sqlite::SqlitePoolOptions,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, oneshot},
};

use super::{BUSY, HEAR_OUT, WRITER_CACHE, is_between_transactions};

/// The most parts of one commit. With more, nobody would be at work on the next ones while it is written.
const MOST_TOGETHER: usize = 8;
/// Begins a part of a transaction that others have begun.
const BEGIN_PART: &str = "SAVEPOINT part";
/// Leaves it to the commit.
const END_PART: &str = "RELEASE part";
/// Undoes it, and nothing of the others. May be said again. The savepoint stays, and so does no harm: of two with one name the
/// last is meant, and the commit ends them all.
const UNDO_PART: &str = "ROLLBACK TO part";

/// What is held until a transaction has ended.
pub(super) type Held = Arc<dyn Any + Send + Sync>;
/// Who waits for the commit of its part.
type Told = oneshot::Sender<Result<(), DbErr>>;
/// Where the connection is between two transactions, and between two parts of one.
type Shelf = Arc<Mutex<Option<Arc<Kept>>>>;
/// The right to use it.
type Turn = OwnedMutexGuard<Option<Arc<Kept>>>;

/// A connection that is kept. Dropped while its transaction is open, that is undone, and who waits for it hears so.
#[derive(Debug)]
struct Kept {
    connection: DatabaseTransaction,
    /// Whose parts of the open transaction are done. Where there are none, it is between two transactions.
    waiting: parking_lot::Mutex<Vec<Told>>,
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
                    return Ok(WriteTx(Tx::InTurn(part)));
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
        Ok(WriteTx(Tx::InTurn(self.part(kept, turn, together, Left::Whole))))
    }

    fn part(&self, kept: Arc<Kept>, turn: Turn, together: bool, left: Left) -> Part {
        Part { kept, turn: Some(turn), shelf: Arc::clone(&self.shelf), together, left, held: None }
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
async fn say(connection: &DatabaseTransaction, words: &str) -> Result<(), DbErr> {
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
const fn lost() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
}

/// Commits what waits for it, if anything does, and tells. The connection is kept if that worked.
async fn conclude(mut turn: Turn) -> Turn {
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
async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, DbErr> {
    tokio::spawn(work).await.map_err(|_| lost())
}

/// [`apart`] for one who cannot wait. Without a runtime the process is at its end, and so is the transaction.
fn leave(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn(work));
    }
}

/// What becomes of a transaction that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// All of it is undone.
    Whole,
    /// This part of it is undone.
    Part,
    /// This part is done.
    Nothing,
}

/// A transaction on a connection that is kept, or a part of one.
#[derive(Debug)]
struct Part {
    kept: Arc<Kept>,
    /// Until it ends.
    turn: Option<Turn>,
    shelf: Shelf,
    together: bool,
    left: Left,
    held: Option<Held>,
}

impl Part {
    async fn commit(mut self) -> Result<(), DbErr> {
        if !self.together {
            return self.end("COMMIT").await;
        }
        if self.left == Left::Part {
            // Said or not, who comes next finds it open.
            self.left = Left::Nothing;
            if say(&self.kept.connection, END_PART).await.is_err() {
                // SQLite has ended the transaction.
                self.left = Left::Whole;
                return Err(lost());
            }
        }
        self.wait().await
    }

    async fn rollback(mut self) -> Result<(), DbErr> {
        if self.left == Left::Whole {
            note_unconfirmed(self.end("ROLLBACK").await);
            return Ok(());
        }
        let undone = say(&self.kept.connection, UNDO_PART).await;
        self.left = if undone.is_ok() { Left::Nothing } else { Left::Whole };
        undone.map_err(|_| lost())?;
        self.wait().await
    }

    /// Ends a transaction and keeps its connection for the next, if that is known to have worked.
    async fn end(mut self, words: &str) -> Result<(), DbErr> {
        say(&self.kept.connection, words).await?;
        self.hand_back();
        Ok(())
    }

    fn hand_back(&mut self) {
        if let Some(mut turn) = self.turn.take() {
            *turn = Some(Arc::clone(&self.kept));
        }
    }

    /// Leaves the transaction to those who are in the queue already, and commits it for all if it finds the turn again first.
    async fn wait(mut self) -> Result<(), DbErr> {
        let (tell, mut told) = oneshot::channel();
        let parts = {
            let mut waiting = self.kept.waiting.lock();
            waiting.push(tell);
            waiting.len()
        };
        let Some(mut turn) = self.turn.take() else { return Err(lost()) };
        *turn = Some(Arc::clone(&self.kept));
        let shelf = Arc::clone(&self.shelf);
        let mut owed = Owed { shelf: Some(Arc::clone(&shelf)), held: self.held.take() };
        drop(self);
        let ended = if parts >= MOST_TOGETHER {
            apart(conclude(turn)).await?;
            told.await
        } else {
            drop(turn);
            tokio::select! {
                biased;
                ended = &mut told => ended,
                turn = shelf.lock_owned() => {
                    apart(conclude(turn)).await?;
                    told.await
                }
            }
        };
        owed.shelf = None;
        ended.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        let kept = Arc::clone(&self.kept);
        match self.left {
            Left::Whole => {}
            Left::Part => leave(async move {
                if say(&kept.connection, UNDO_PART).await.is_ok() {
                    *turn = Some(kept);
                }
            }),
            Left::Nothing => *turn = Some(kept),
        }
    }
}

/// The commit of a part that is done: where nobody waits for it any more, it is still made, and the turn goes on.
struct Owed {
    shelf: Option<Shelf>,
    held: Option<Held>,
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.take() {
            let held = self.held.take();
            leave(async move {
                drop(conclude(shelf.lock_owned().await).await);
                drop(held);
            });
        }
    }
}

/// An open transaction; dropped before [`WriteTx::commit`] is called, it rolls back. While that waits for the commit that it
/// shares with others, it is made whoever goes.
#[derive(Debug)]
pub struct WriteTx(Tx);

#[derive(Debug)]
enum Tx {
    /// On a connection of its own.
    Alone(DatabaseTransaction),
    InTurn(Part),
}

impl WriteTx {
    /// On a connection of its own.
    pub(super) const fn alone(tx: DatabaseTransaction) -> Self {
        Self(Tx::Alone(tx))
    }

    /// Where statements of the transaction go.
    pub fn executor(&self) -> DatabaseExecutor<'_> {
        self.connection().into_database_executor()
    }

    /// The transaction itself, for what wants a connection.
    pub fn connection(&self) -> &DatabaseTransaction {
        match &self.0 {
            Tx::Alone(tx) => tx,
            Tx::InTurn(part) => &part.kept.connection,
        }
    }

    /// Has this held until the transaction has ended, also where nobody waits for that any more.
    pub fn hold(&mut self, held: Arc<dyn Any + Send + Sync>) {
        if let Tx::InTurn(part) = &mut self.0 {
            part.held = Some(held);
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// When the database could not confirm it; it may or may not have happened.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0 {
            Tx::Alone(tx) => tx.commit().await,
            Tx::InTurn(part) => part.commit().await,
        }
    }

    /// [`Self::commit`] for a transaction that scopes shared; all of them must be gone.
    ///
    /// # Errors
    /// As there, and when a scope is still alive.
    pub async fn commit_shared(self: Arc<Self>) -> Result<(), DbErr> {
        match Arc::into_inner(self) {
            Some(tx) => tx.commit().await,
            None => Err(DbErr::Custom("a scope outlived its transaction".into())),
        }
    }

    /// Undoes it. When this returns, what it saw of others that share its commit is durable.
    ///
    /// # Errors
    /// When that is not so. Where the database could not be told of the end, it rolls back by itself.
    pub async fn rollback(self) -> Result<(), DbErr> {
        match self.0 {
            Tx::Alone(tx) => {
                note_unconfirmed(tx.rollback().await);
                Ok(())
            }
            Tx::InTurn(part) => part.rollback().await,
        }
    }
}

fn note_unconfirmed(rolled_back: Result<(), DbErr>) {
    if let Err(error) = rolled_back {
        tracing::warn!(%error, "roll-back was not confirmed; the database rolls back by itself");
    }
}
