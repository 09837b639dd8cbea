//! Database errors: which are a passing state, which are a constraint that a call site expects,
//! and which are a fault of ours.
//!
//! Constraints are matched where the statement is made, by the constraint's name on `PostgreSQL`
//! and by the columns that `SQLite` reports instead; nowhere else is an error's text read.

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr,
    sqlx::{self, error::DatabaseError},
};

use super::{ApiError, ApiResult};

/// `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_IOERR`, `SQLITE_FULL` and `SQLITE_PROTOCOL`
/// (<https://www.sqlite.org/rescode.html>): the low byte of the extended result code.
const SQLITE_PASSING: [i32; 5] = [5, 6, 10, 13, 15];

/// States of `PostgreSQL` that pass: connections that broke, also behind a pooler; idle in a transaction for too long, a
/// standby that is not yet the primary, serialization failure, deadlock, disk full, out of memory, too many connections, a
/// lock waited for in vain, cancelled by an operator, shutting down, crashed, starting, idle for too long, a disk that fails
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const PASSING_STATES: [&str; 19] = [
    "08000", "08001", "08003", "08004", "08006", "08P01", "25P03", "25006", "40001", "40P01", "53100",
    "53200", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05",
];

/// A constraint of the schema, as the two databases name it when it is violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// A unique constraint or index, or a primary key.
    Unique {
        /// Its name in the schema.
        name: &'static str,
        /// Its columns as `SQLite` lists them: `"contacts.account_id, contacts.email"`.
        columns: &'static str,
    },
    /// A foreign key. `SQLite` does not say which, so there any violated one matches.
    Foreign {
        /// Its name in the schema.
        name: &'static str,
    },
}

impl Constraint {
    fn is_violated_by(self, error: &dyn DatabaseError) -> bool {
        match self {
            Self::Unique { name, columns } if error.is_unique_violation() => error.constraint().map_or_else(
                || sqlite_subject(error).is_some_and(|it| it == columns || it == format!("index '{name}'")),
                |it| it == name,
            ),
            Self::Foreign { name } if error.is_foreign_key_violation() => {
                error.constraint().is_none_or(|it| it == name)
            }
            Self::Unique { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// Turns the violation of an expected constraint into the error that the call site names; any
/// other database error is converted as usual.
///
/// # Errors
/// The error of the first constraint in `expected` that is violated, else the usual conversion.
pub fn on_constraint<T>(
    result: Result<T, DbErr>,
    expected: &[(Constraint, &dyn Fn() -> ApiError)],
) -> ApiResult<T> {
    result.map_err(|error| {
        let violated = driver_error(&error)
            .and_then(|driver| expected.iter().find(|(constraint, _)| constraint.is_violated_by(driver)));
        violated.map_or_else(|| error.clone().into(), |(_, refusal)| refusal())
    })
}

/// What stands after the colon of "UNIQUE constraint failed: …": columns, or `index '…'` for an
/// index on an expression. `SQLite` reports it in no other way.
fn sqlite_subject(error: &dyn DatabaseError) -> Option<&str> {
    error.message().strip_prefix("UNIQUE constraint failed: ")
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    if let DbErr::Conn(RuntimeErr::SqlxError(inner))
    | DbErr::Exec(RuntimeErr::SqlxError(inner))
    | DbErr::Query(RuntimeErr::SqlxError(inner)) = error
    {
        Some(inner)
    } else {
        None
    }
}

fn driver_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    sqlx_error(error).and_then(sqlx::Error::as_database_error)
}

/// Whether waiting may cure it: no free connection, a lock, a full disk, a database that restarts, a server that stops.
pub(crate) fn is_passing(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout | ConnAcquireErr::ConnectionClosed)) {
        return true;
    }
    if let Some(driver) = driver_error(error) {
        let code = driver.code().unwrap_or_default();
        return PASSING_STATES.contains(&code.as_ref())
            || (driver.constraint().is_none() && is_passing_on_sqlite(&code));
    }
    matches!(
        sqlx_error(error),
        Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_))
    )
}

/// `SQLite` codes are plain decimal numbers; `PostgreSQL` states have five characters.
fn is_passing_on_sqlite(code: &str) -> bool {
    code.len() < 5 && code.parse::<i32>().is_ok_and(|code| SQLITE_PASSING.contains(&(code & 0xff)))
}

impl From<DbErr> for ApiError {
    fn from(error: DbErr) -> Self {
        if is_passing(&error) { Self::unavailable(error) } else { Self::internal(error) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, on tables of its own")]

    use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

    use super::*;
    use crate::errors::Code;

    async fn schema() -> DatabaseConnection {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.unwrap();
        db.execute_unprepared(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE owners (id INTEGER PRIMARY KEY);
             CREATE TABLE pets (owner_id INTEGER NOT NULL REFERENCES owners (id), name TEXT NOT NULL,
                                chip TEXT, UNIQUE (owner_id, name));
             CREATE UNIQUE INDEX uq_pets_chip ON pets (lower(chip));
             INSERT INTO owners VALUES (1);
             INSERT INTO pets VALUES (1, 'rex', 'a1');",
        )
        .await
        .unwrap();
        db
    }

    const NAME: Constraint =
        Constraint::Unique { name: "uq_pets_owner_name", columns: "pets.owner_id, pets.name" };
    const CHIP: Constraint = Constraint::Unique { name: "uq_pets_chip", columns: "pets.chip" };
    const OWNER: Constraint = Constraint::Foreign { name: "fk_pets_owner" };

    async fn insert(db: &DatabaseConnection, values: &str) -> ApiError {
        let result = db.execute_unprepared(&format!("INSERT INTO pets VALUES ({values})")).await;
        on_constraint(
            result,
            &[
                (NAME, &|| ApiError::unprocessable("name")),
                (CHIP, &|| ApiError::unprocessable("chip")),
                (OWNER, &|| ApiError::new(Code::NotFound)),
            ],
        )
        .unwrap_err()
    }

    #[tokio::test]
    async fn an_expected_constraint_gives_the_error_of_its_call_site() {
        let db = schema().await;
        assert_eq!(insert(&db, "1, 'rex', 'b2'").await.message, "name");
        assert_eq!(insert(&db, "1, 'max', 'A1'").await.message, "chip");
        assert_eq!(insert(&db, "2, 'max', 'b2'").await.code, Code::NotFound);
        let other = insert(&db, "1, NULL, 'b2'").await;
        assert_eq!(other.code, Code::InternalError);
        assert!(other.cause_chain().unwrap().contains("NOT NULL"));
    }

    #[test]
    fn a_state_that_passes_is_unavailable_and_the_rest_is_internal() {
        let busy = ApiError::from(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        assert_eq!((busy.code, busy.retry_after), (Code::ServiceUnavailable, Some(1)));
        let pool = DbErr::Conn(RuntimeErr::SqlxError(sqlx::Error::PoolTimedOut.into()));
        assert_eq!(ApiError::from(pool).code, Code::ServiceUnavailable);
        let bug = ApiError::from(DbErr::Custom("a bug".into()));
        assert_eq!((bug.code, bug.retry_after), (Code::InternalError, None));
    }

    #[test]
    fn passing_codes_of_sqlite_are_known_in_their_extended_forms() {
        for code in ["5", "6", "13", "261", "517", "262"] {
            assert!(is_passing_on_sqlite(code), "{code}");
        }
        for code in ["1", "2067", "23505", "", "57P01"] {
            assert!(!is_passing_on_sqlite(code), "{code}");
        }
    }
}
