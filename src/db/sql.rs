//! Builds statements over sets of rows that both databases take: parameters, lists, and changes by a `WITH`.
//!
//! A set is to be few texts, which the database then knows. PostgreSQL takes a whole column as one parameter, an array, for
//! any number of rows. SQLite has none: ids are filled up to a power of two, and rows by whoever has many sizes of them.

use sea_orm::{DbBackend, Value, sea_query::ArrayType};
use uuid::Uuid;

/// A statement and its parameters.
#[derive(Clone, Debug)]
pub struct Sql {
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
            self.array(ids.iter().map(|id| Value::from(*id)).collect());
            self.push(")");
        } else {
            let fill = ids.len().next_power_of_two() - ids.len();
            let again = ids.last().into_iter().cycle().take(fill);
            self.push(" IN ");
            self.list(ids.iter().chain(again).map(|id| Value::from(*id)));
        }
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
            let row: Vec<Value> = row.into_iter().collect();
            debug_assert!(row.len() < 64 && (nulls.is_empty() || row.len() == columns.len()));
            columns.resize_with(row.len(), Vec::new);
            let mut missing = 0_i64;
            for (nth, (value, column)) in row.into_iter().zip(&mut columns).enumerate() {
                missing |= i64::from(!value.is_some()) << nth;
                column.push(if value.is_some() { value } else { value.dummy_value() });
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

    /// Of values of one type. Where there are none they are ids: rows are one at least.
    fn array(&mut self, values: Vec<Value>) {
        let of = values.first().map_or(ArrayType::Uuid, Value::array_type);
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rows(backend: DbBackend) -> Sql {
        let rows = [[1_i64.into(), Some("a").into()], [2_i64.into(), None::<&str>.into()]];
        Sql::with_rows(backend, "v_id, v_text", rows, "SELECT v_text FROM v")
    }

    #[test]
    fn on_postgresql_rows_are_one_parameter_for_each_column_and_one_for_what_is_null() {
        let array = |of, values: [Value; 2]| Value::Array(of, Some(Box::new(values.into())));
        let sql = rows(DbBackend::Postgres);
        assert_eq!(
            sql.text,
            "WITH v (v_id, v_text) AS (SELECT CASE WHEN nulls & 1 = 0 THEN c0 END, CASE WHEN nulls & 2 = 0 THEN c1 END \
             FROM unnest($1, $2, $3) AS c (c0, c1, nulls)) SELECT v_text FROM v"
        );
        let values = [
            array(ArrayType::BigInt, [1_i64.into(), 2_i64.into()]),
            array(ArrayType::String, ["a".into(), "".into()]),
            array(ArrayType::BigInt, [0_i64.into(), 2_i64.into()]),
        ];
        assert_eq!(sql.values, values);
    }

    #[test]
    fn on_sqlite_rows_are_one_parameter_for_each_value() {
        let sql = rows(DbBackend::Sqlite);
        assert_eq!(sql.text, "WITH v (v_id, v_text) AS (VALUES (?, ?), (?, ?)) SELECT v_text FROM v");
        assert_eq!(sql.values, [1_i64.into(), "a".into(), 2_i64.into(), None::<&str>.into()]);
    }

    #[rstest]
    #[case::postgresql(DbBackend::Postgres, " = ANY ($1)", 1)]
    #[case::sqlite(DbBackend::Sqlite, " IN (?, ?, ?, ?)", 4)]
    fn ids_are_one_parameter_or_a_power_of_two(
        #[case] backend: DbBackend,
        #[case] text: &str,
        #[case] parameters: usize,
    ) {
        let mut sql = Sql::new(backend, "");
        sql.among(&[Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)]);
        assert_eq!((sql.text.as_str(), sql.values.len()), (text, parameters));
    }
}
