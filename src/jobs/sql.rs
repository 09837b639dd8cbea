//! The door to the `jobs` table: raw statements, because claims, leases and fences are single guarded statements.
#![expect(clippy::disallowed_methods, reason = "the one place where statements on the jobs table are run")]

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

use crate::db::{self, Db};

/// The database's now as a subquery. PostgreSQL's `clock_timestamp()` is volatile: bare in a condition it is called
/// for every row and no index serves it; a subquery is called once.
pub(super) fn now(conn: &impl ConnectionTrait) -> String {
    format!("(SELECT {})", db::clock_sql(conn.get_database_backend()))
}

/// Microseconds, as much as fits.
pub(super) fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Runs a statement and says how many rows it changed.
pub(super) async fn execute(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    Ok(conn.execute_raw(statement(conn, text, values)).await?.rows_affected())
}

/// Runs a statement that answers rows.
pub(super) async fn rows(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    db::in_time(conn.query_all_raw(statement(conn, text, values))).await
}

/// Runs a statement in a transaction of its own, which waits its turn among this process's writers: on SQLite a
/// statement outside one would have to win the file's lock against all of them.
pub(super) async fn write(
    db: &Db,
    text: &str,
    values: impl IntoIterator<Item = Value> + Send,
) -> Result<u64, DbErr> {
    db::in_time(async {
        let tx = db.begin().await?;
        let changed = execute(tx.connection(), text, values).await?;
        tx.commit().await?;
        Ok(changed)
    })
    .await
}

/// The same for a statement that answers the rows it changed.
pub(super) async fn write_returning(
    db: &Db,
    text: &str,
    values: impl IntoIterator<Item = Value> + Send,
) -> Result<Vec<QueryResult>, DbErr> {
    db::in_time(async {
        let tx = db.begin().await?;
        let changed = rows(tx.connection(), text, values).await?;
        tx.commit().await?;
        Ok(changed)
    })
    .await
}

fn statement(conn: &impl ConnectionTrait, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(conn.get_database_backend(), text, values)
}

/// Where a text is in another, counted from 1.
pub(super) fn find(conn: &impl ConnectionTrait) -> &'static str {
    if conn.get_database_backend() == DbBackend::Postgres { "strpos" } else { "instr" }
}

/// Skips rows that another claimer holds; on SQLite the one writer's lock does that.
pub(super) fn skip_locked(conn: &impl ConnectionTrait) -> &'static str {
    if conn.get_database_backend() == DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" }
}
