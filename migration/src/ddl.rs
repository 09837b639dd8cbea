//! Runs one DDL text on either database: the few words that differ are written as `{uuid}`, `{bytes}`, `{json}`, and `{kept}`
//! for a generated column.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

/// For `use_transaction` of every step: SQLite too commits its statements together and with the record that it ran, so
/// that a process which is killed in the middle finds the step undone.
pub const WHOLE: Option<bool> = Some(true);

/// Executes `sql` with the type names of the database at hand.
///
/// # Errors
/// Whatever the database refuses.
#[expect(clippy::literal_string_with_formatting_args, reason = "the braces are ours")]
#[expect(
    clippy::disallowed_methods,
    reason = "a migration runs several statements at once, without parameters"
)]
pub async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == DatabaseBackend::Postgres;
    let (uuid, bytes, json, kept) =
        if postgres { ("uuid", "bytea", "jsonb", "STORED") } else { ("blob", "blob", "text", "VIRTUAL") };
    let sql =
        sql.replace("{uuid}", uuid).replace("{bytes}", bytes).replace("{json}", json).replace("{kept}", kept);
    manager.get_connection().execute_unprepared(&sql).await.map(|_| ())
}
