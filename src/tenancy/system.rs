//! The engine's and the operator's door: it sees every account.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseExecutor, DbBackend, DbErr, QueryResult, Statement, Value};
use uuid::Uuid;

use super::{Conn, Scope};
use crate::db::Db;

/// All accounts on one connection. Where one may be made is listed and tested.
#[derive(Clone, Debug)]
pub struct SystemScope {
    conn: Conn,
}

impl SystemScope {
    /// All accounts on this connection.
    pub const fn new(conn: Conn) -> Self {
        Self { conn }
    }

    /// Runs `work` in a transaction of its own: committed when it answers, undone when it fails.
    ///
    /// # Errors
    /// Those of `work`, and what the database refuses; after a commit that was not confirmed nobody knows.
    pub async fn in_transaction<T, E: From<DbErr>>(
        db: &Db,
        work: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = Arc::new(db.begin().await?);
        let system = Self::new(Conn::Tx(Arc::clone(&tx)));
        let done = work(&system).await?;
        drop(system);
        tx.commit_shared().await?;
        Ok(done)
    }

    /// Where statements go.
    pub fn db(&self) -> DatabaseExecutor<'_> {
        self.conn.executor()
    }

    /// Which database it is.
    pub fn backend(&self) -> DbBackend {
        self.db().get_database_backend()
    }

    /// The scope of one account, for work that is done on its behalf.
    pub fn account(&self, account_id: Uuid) -> Scope {
        Scope::system(account_id, self.conn.clone())
    }

    /// Runs a statement; answers how many rows it changed.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, DbErr> {
        #[expect(clippy::disallowed_methods, reason = "the door of the engine")]
        let result =
            self.db().execute_raw(Statement::from_sql_and_values(self.backend(), sql, values)).await?;
        Ok(result.rows_affected())
    }

    /// Runs a query.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn query(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        #[expect(clippy::disallowed_methods, reason = "the door of the engine")]
        self.db().query_all_raw(Statement::from_sql_and_values(self.backend(), sql, values)).await
    }

    /// The first row of [`Self::query`].
    ///
    /// # Errors
    /// As there.
    pub async fn query_one(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }
}
