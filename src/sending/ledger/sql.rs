//! Builds statements over sets of rows that both databases take: parameters, lists, and changes by a `WITH`.

use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// A statement and its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    backend: DbBackend,
    /// The text so far.
    pub text: String,
    /// Its parameters in order.
    pub values: Vec<Value>,
}

impl Sql {
    /// Begins a statement.
    pub fn new(backend: DbBackend, text: &str) -> Self {
        Self { backend, text: text.to_owned(), values: Vec::new() }
    }

    /// Adds text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a parameter. They stand in the order of their numbers. SQLite is not told the numbers: it would search all
    /// of them for each.
    pub fn value(&mut self, value: Value) {
        self.values.push(value);
        if self.backend == DbBackend::Sqlite {
            self.text.push('?');
        } else {
            self.text.push('$');
            self.text.push_str(&self.values.len().to_string());
        }
    }

    /// Adds parameters in brackets.
    pub fn list(&mut self, values: impl IntoIterator<Item = Value>) {
        self.text.push('(');
        for (nth, value) in values.into_iter().enumerate() {
            if nth > 0 {
                self.text.push_str(", ");
            }
            self.value(value);
        }
        self.text.push(')');
    }

    /// Adds ids in brackets, the last as often as it takes to make their number a power of two: few texts occur, and the
    /// database knows them.
    pub fn ids(&mut self, ids: &[Uuid]) {
        let fill = ids.len().next_power_of_two() - ids.len();
        let again = ids.last().into_iter().cycle().take(fill);
        self.list(ids.iter().chain(again).map(|id| Value::from(*id)));
    }

    /// Adds lists, separated by commas.
    pub fn rows<R: IntoIterator<Item = Value>>(&mut self, rows: impl IntoIterator<Item = R>) {
        for (nth, row) in rows.into_iter().enumerate() {
            if nth > 0 {
                self.text.push_str(", ");
            }
            self.list(row);
        }
    }

    /// `WITH v (columns) AS (VALUES rows) rest`: one statement that changes each row in its own way.
    pub fn with_rows<R: IntoIterator<Item = Value>>(
        backend: DbBackend,
        columns: &str,
        rows: impl IntoIterator<Item = R>,
        rest: &str,
    ) -> Self {
        let mut sql = Self::new(backend, &format!("WITH v ({columns}) AS (VALUES "));
        sql.rows(rows);
        sql.push(") ");
        sql.push(rest);
        sql
    }
}

/// Ids as parameters.
pub(crate) fn uuids(ids: &[Uuid]) -> impl Iterator<Item = Value> + '_ {
    ids.iter().map(|id| Value::from(*id))
}
