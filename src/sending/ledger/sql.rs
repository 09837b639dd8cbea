//! Builds statements over sets of rows that both databases take: parameters, lists, and changes by a `WITH`.
//!
//! A set is to be few parameters and few texts, which the database then knows. PostgreSQL takes a whole column as one
//! parameter, an array; SQLite, which has none, takes lists that are filled up.

use sea_orm::{DbBackend, Value, sea_query::ArrayType};
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

    /// Adds `= ANY (…)` or `IN (…)`: one of these ids. On SQLite the last stands there as often as it takes to make their
    /// number a power of two.
    pub fn among(&mut self, ids: &[Uuid]) {
        if self.backend == DbBackend::Postgres {
            self.push(" = ANY (");
            self.ids(ids);
            self.push(")");
        } else {
            let fill = ids.len().next_power_of_two() - ids.len();
            let again = ids.last().into_iter().cycle().take(fill);
            self.push(" IN ");
            self.list(ids.iter().chain(again).map(|id| Value::from(*id)));
        }
    }

    /// Adds ids as one parameter, for PostgreSQL alone.
    pub fn ids(&mut self, ids: &[Uuid]) {
        let ids = ids.iter().map(|id| Value::from(*id)).collect();
        self.value(Value::Array(ArrayType::Uuid, Some(Box::new(ids))));
    }

    /// Adds a query that gives these rows: one at least, and each of a column has its type, null or not.
    pub fn rows<R: IntoIterator<Item = Value>>(&mut self, rows: impl IntoIterator<Item = R>) {
        if self.backend == DbBackend::Postgres {
            self.columns(rows);
        } else {
            for (nth, row) in rows.into_iter().enumerate() {
                self.push(if nth == 0 { "VALUES " } else { ", " });
                self.list(row);
            }
        }
    }

    /// A parameter for each column, and one that says of each row by the bits of a number what of it is null: the arrays of
    /// the driver have no nulls.
    fn columns<R: IntoIterator<Item = Value>>(&mut self, rows: impl IntoIterator<Item = R>) {
        let mut columns: Vec<Vec<Value>> = Vec::new();
        let mut nulls = Vec::new();
        for row in rows {
            let mut missing = 0_i64;
            for (nth, value) in row.into_iter().enumerate() {
                if columns.len() == nth {
                    columns.push(Vec::new());
                }
                missing |= i64::from(!value.is_some()) << nth;
                columns[nth].push(if value.is_some() { value } else { value.dummy_value() });
            }
            nulls.push(missing.into());
        }
        let each = 0..columns.len();
        let shown = each.clone().map(|nth| format!("CASE WHEN nulls & {} = 0 THEN c{nth} END", 1_i64 << nth));
        let names = each.map(|nth| format!("c{nth}"));
        let (shown, names) = (join(shown), join(names.chain(["nulls".to_owned()])));
        self.push(&format!("SELECT {shown} FROM unnest("));
        for column in columns {
            self.array(column);
            self.push(", ");
        }
        self.array(nulls);
        self.push(&format!(") AS c ({names})"));
    }

    fn array(&mut self, values: Vec<Value>) {
        let of = values.first().map_or(ArrayType::BigInt, Value::array_type);
        self.value(Value::Array(of, Some(Box::new(values))));
    }

    /// Adds parameters in brackets.
    fn list(&mut self, values: impl IntoIterator<Item = Value>) {
        self.text.push('(');
        for (nth, value) in values.into_iter().enumerate() {
            if nth > 0 {
                self.text.push_str(", ");
            }
            self.value(value);
        }
        self.text.push(')');
    }

    /// `WITH v (columns) AS (rows) rest`: one statement that changes each row in its own way.
    pub fn with_rows<R: IntoIterator<Item = Value>>(
        backend: DbBackend,
        columns: &str,
        rows: impl IntoIterator<Item = R>,
        rest: &str,
    ) -> Self {
        let mut sql = Self::new(backend, &format!("WITH v ({columns}) AS ("));
        sql.rows(rows);
        sql.push(") ");
        sql.push(rest);
        sql
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
