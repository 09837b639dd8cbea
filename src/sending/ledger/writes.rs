//! Changes of several tables that go to the database together: one statement on PostgreSQL, one round of statements on
//! SQLite. A commit of the ledger changes up to seven tables; asked for one by one, they would cost it seven round trips.
//!
//! All its sets of rows are filled up to one size, a power of two, so that few texts occur and the database knows them.

use sea_orm::{DbBackend, DbErr, Value};

use super::sql::Sql;
use crate::tenancy::SystemScope;

/// A set of rows and the update that takes them.
struct Write {
    columns: &'static str,
    rows: Vec<Vec<Value>>,
    /// `UPDATE … SET …`, with the columns of the rows.
    set: &'static str,
    /// What comes behind `WHERE`; which row is meant, by a column of the rows that is not null.
    matching: &'static str,
}

/// What one commit changes, each row of a table at most once.
#[derive(Default)]
pub(super) struct Writes(Vec<Write>);

impl Writes {
    /// Adds a table's change; nothing where there are no rows.
    pub(super) fn add<R: IntoIterator<Item = Value>>(
        &mut self,
        columns: &'static str,
        rows: impl Iterator<Item = R>,
        (set, matching): (&'static str, &'static str),
    ) {
        let rows: Vec<Vec<Value>> = rows.map(|row| row.into_iter().collect()).collect();
        if !rows.is_empty() {
            self.0.push(Write { columns, rows, set, matching });
        }
    }

    /// Makes the changes; nothing says how many rows they met.
    pub(super) async fn run(mut self, system: &SystemScope) -> Result<(), DbErr> {
        self.fill_up();
        let sql = match system.backend() {
            DbBackend::Postgres => self.in_one_statement(),
            DbBackend::Sqlite | DbBackend::MySql | _ => self.in_one_round(),
        };
        match sql {
            Some(sql) => system.execute(&sql.text, sql.values).await.map(drop),
            None => Ok(()),
        }
    }

    /// Rows of nulls match nothing.
    fn fill_up(&mut self) {
        let most = self.0.iter().map(|write| write.rows.len()).max().unwrap_or(0).next_power_of_two();
        for write in &mut self.0 {
            if let Some(first) = write.rows.first() {
                let nulls: Vec<Value> = first.iter().map(Value::as_null).collect();
                write.rows.resize(most, nulls);
            }
        }
    }

    /// PostgreSQL takes one statement with parameters at a time. Changes in a `WITH` are all made, whether or not the
    /// statement reads them.
    fn in_one_statement(self) -> Option<Sql> {
        let mut sql = Sql::default();
        let many = self.0.len();
        for (nth, write) in self.0.into_iter().enumerate() {
            let last = nth + 1 == many;
            sql.push(if nth == 0 { "WITH " } else { ", " });
            sql.push(&format!("v{nth} ({}) AS (VALUES ", write.columns));
            sql.rows(write.rows);
            sql.push(")");
            let update = format!("{} FROM v{nth} WHERE {}", write.set, write.matching);
            if last {
                sql.push(&format!(" {update}"));
            } else {
                sql.push(&format!(", w{nth} AS ({update} RETURNING 1)"));
            }
        }
        (many > 0).then_some(sql)
    }

    /// SQLite takes several statements at a time, whose parameters are numbered through.
    fn in_one_round(self) -> Option<Sql> {
        let mut sql = Sql::default();
        let many = self.0.len();
        for write in self.0 {
            sql.push(&format!("WITH v ({}) AS (VALUES ", write.columns));
            sql.rows(write.rows);
            sql.push(&format!(") {} FROM v WHERE {};", write.set, write.matching));
        }
        (many > 0).then_some(sql)
    }
}
