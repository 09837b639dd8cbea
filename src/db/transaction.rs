//! Transactions that write.
//!
//! Short ones of SQLite that wait for each other share a commit (ADR 17): who has done its part leaves the transaction open for
//! the next in the queue and goes to its end, so that whoever finds the turn again first commits for all.

use std::{any::Any, sync::Arc};

use sea_orm::{DatabaseExecutor, DatabaseTransaction, DbErr, IntoDatabaseExecutor};
use tokio::sync::oneshot;

use super::writer::{Kept, Shelf, Turn, apart, conclude, leave, lost, say};

/// The most parts of one commit. With more, nobody would be at work on the next ones while it is written.
const MOST_TOGETHER: usize = 8;
/// Leaves a part to the commit.
const END_PART: &str = "RELEASE part";
/// Undoes it, and nothing of the others. May be said again. The savepoint stays, and so does no harm: of two with one name the
/// last is meant, and the commit ends them all.
const UNDO_PART: &str = "ROLLBACK TO part";

/// What is held until a transaction has ended.
type Held = Arc<dyn Any + Send + Sync>;

/// What becomes of a transaction that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// All of it is undone.
    Whole,
    /// This part of it is undone.
    Part,
    /// This part is done.
    Nothing,
}

/// A transaction on a connection that is kept, or a part of one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) kept: Arc<Kept>,
    /// Until it ends.
    pub(super) turn: Option<Turn>,
    shelf: Shelf,
    together: bool,
    pub(super) left: Left,
    held: Option<Held>,
}

impl Part {
    pub(super) const fn new(kept: Arc<Kept>, turn: Turn, shelf: Shelf, together: bool, left: Left) -> Self {
        Self { kept, turn: Some(turn), shelf, together, left, held: None }
    }

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
            Left::Nothing => {
                *turn = Some(kept);
                drop(turn);
                drop(Owed { shelf: Some(Arc::clone(&self.shelf)), held: self.held.take() });
            }
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

    /// On one that is kept.
    pub(super) const fn in_turn(part: Part) -> Self {
        Self(Tx::InTurn(part))
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

    /// Has this held until the commit that is shared with others, also where nobody waits for that any more. A transaction on a
    /// connection of its own ends with whoever has it, and holds nothing.
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
