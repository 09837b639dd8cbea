//! Everything a request may do with tables of its account.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseExecutor, DbBackend, DbErr,
    DeleteMany, IntoActiveModel, IntoDatabaseExecutor, Iterable, QueryFilter, QueryResult, Select, Statement,
    UpdateMany, Value,
};
use uuid::Uuid;

use super::{Caller, TenantEntity};
use crate::{db::WriteTx, errors::ApiError};

/// Parameters of one statement: SQLite takes 32,766, PostgreSQL 65,535.
const MAX_PARAMETERS: usize = 32_000;

/// A pool for reads, or the transaction of the request.
#[derive(Clone, Debug)]
pub enum Conn {
    /// Reads outside a transaction.
    Pool(DatabaseConnection),
    /// The request's transaction.
    Tx(Arc<WriteTx>),
}

impl Conn {
    /// Where statements go.
    pub fn executor(&self) -> DatabaseExecutor<'_> {
        match self {
            Self::Pool(pool) => pool.into_database_executor(),
            Self::Tx(tx) => tx.executor(),
        }
    }
}

/// One account's data on one connection.
#[derive(Clone, Debug)]
pub struct Scope {
    account_id: Uuid,
    conn: Conn,
}

impl Scope {
    /// The data of whoever authenticated.
    pub const fn of(caller: &Caller, conn: Conn) -> Self {
        Self { account_id: caller.account_id, conn }
    }

    /// For the engine and for tasks, which act for an account without its key: see [`super::SystemScope::account`].
    pub(super) const fn system(account_id: Uuid, conn: Conn) -> Self {
        Self { account_id, conn }
    }

    /// Whose data it is.
    pub const fn account_id(&self) -> Uuid {
        self.account_id
    }

    /// Which database it is.
    pub fn backend(&self) -> DbBackend {
        self.db().get_database_backend()
    }

    /// The connection that selects and updates made here are run on.
    pub fn db(&self) -> DatabaseExecutor<'_> {
        self.conn.executor()
    }

    /// The visible rows of a table.
    pub fn find<E: TenantEntity>(&self) -> Select<E> {
        #[expect(clippy::disallowed_methods, reason = "the door: the account is added here")]
        let rows = E::find().filter(E::account_column().eq(self.account_id));
        match E::visible() {
            Some(visible) => rows.filter(visible),
            None => rows,
        }
    }

    /// Rows of a table, also those that are deleted but not yet removed.
    pub fn find_hidden<E: TenantEntity>(&self) -> Select<E> {
        #[expect(clippy::disallowed_methods, reason = "the door: the account is added here")]
        E::find().filter(E::account_column().eq(self.account_id))
    }

    /// One visible row.
    ///
    /// # Errors
    /// The table's own `…_not_found`.
    pub async fn get<E: TenantEntity>(&self, id: Uuid) -> Result<E::Model, ApiError> {
        let row = self.find::<E>().filter(E::id_column().eq(id)).one(&self.db()).await?;
        row.ok_or_else(|| ApiError::new(E::MISSING))
    }

    /// One visible row, locked against changes until the transaction ends.
    ///
    /// # Errors
    /// The table's own `…_not_found`.
    pub async fn lock<E: TenantEntity>(&self, id: Uuid) -> Result<E::Model, ApiError> {
        use sea_orm::QuerySelect;
        let row = self.find::<E>().filter(E::id_column().eq(id)).lock_exclusive().one(&self.db()).await?;
        row.ok_or_else(|| ApiError::new(E::MISSING))
    }

    /// The same, and rows that refer to it may be stored meanwhile: for changes of what no foreign key points at.
    ///
    /// # Errors
    /// The table's own `…_not_found`.
    pub async fn lock_but_key<E: TenantEntity>(&self, id: Uuid) -> Result<E::Model, ApiError> {
        use sea_orm::{QuerySelect, sea_query::LockType};
        let row = self.find::<E>().filter(E::id_column().eq(id)).lock(LockType::NoKeyUpdate);
        row.one(&self.db()).await?.ok_or_else(|| ApiError::new(E::MISSING))
    }

    /// Adds a row, whose account is set here.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn insert<E>(&self, row: E::Model) -> Result<(), DbErr>
    where
        E: TenantEntity,
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        self.insert_all::<E>(vec![row]).await
    }

    /// Adds rows in as few statements as the database allows.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn insert_all<E>(&self, rows: Vec<E::Model>) -> Result<(), DbErr>
    where
        E: TenantEntity,
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let per_statement = (MAX_PARAMETERS / E::Column::iter().count().max(1)).max(1);
        let mut rows = rows.into_iter().map(|row| {
            let mut row = row.into_active_model().reset_all();
            row.set(E::account_column(), self.account_id.into());
            row
        });
        loop {
            let chunk: Vec<E::ActiveModel> = rows.by_ref().take(per_statement).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            #[expect(clippy::disallowed_methods, reason = "the door: the account is set above")]
            E::insert_many(chunk).exec_without_returning(&self.db()).await?;
        }
    }

    /// An update of rows of this account; add filters and columns.
    pub fn update<E: TenantEntity>(&self) -> UpdateMany<E> {
        #[expect(clippy::disallowed_methods, reason = "the door: the account is added here")]
        E::update_many().filter(E::account_column().eq(self.account_id))
    }

    /// Writes the changed columns of a row that was read through this scope.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn save<E: TenantEntity>(&self, id: Uuid, row: E::ActiveModel) -> Result<(), DbErr>
    where
        E::ActiveModel: Send,
    {
        if !row.is_changed() {
            return Ok(());
        }
        self.update::<E>().set(row).filter(E::id_column().eq(id)).exec(&self.db()).await.map(|_| ())
    }

    /// A delete of rows of this account; add filters.
    pub fn delete<E: TenantEntity>(&self) -> DeleteMany<E> {
        #[expect(clippy::disallowed_methods, reason = "the door: the account is added here")]
        E::delete_many().filter(E::account_column().eq(self.account_id))
    }

    /// Runs a statement of sets. `$1` is this account; `values` follow from `$2`.
    ///
    /// # Errors
    /// When the text does not use `$1`, or the database refuses it.
    pub async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, DbErr> {
        let statement = self.statement(sql, values)?;
        #[expect(clippy::disallowed_methods, reason = "the door: the account is $1")]
        self.db().execute_raw(statement).await.map(|result| result.rows_affected())
    }

    /// Runs a query. `$1` is this account; `values` follow from `$2`.
    ///
    /// # Errors
    /// When the text does not use `$1`, or the database refuses it.
    pub async fn query(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.statement(sql, values)?;
        #[expect(clippy::disallowed_methods, reason = "the door: the account is $1")]
        self.db().query_all_raw(statement).await
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

    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Statement, DbErr> {
        if !sql.contains("$1") {
            return Err(DbErr::Custom(format!(
                "a statement in a scope must be bound to its account ($1): {sql}"
            )));
        }
        let all = std::iter::once(Value::from(self.account_id)).chain(values);
        #[expect(clippy::disallowed_methods, reason = "the door")]
        Ok(Statement::from_sql_and_values(self.backend(), sql, all))
    }
}
