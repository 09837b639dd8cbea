//! Changes of several tables that go to the database together: one statement on PostgreSQL, one round of statements on
//! SQLite. A commit of the ledger changes up to seven tables; asked for one by one, they would cost it eight round trips.
//!
//! On SQLite each of its sets is filled up to one of three sizes, so that few texts occur and the database knows them.

use sea_orm::{DbBackend, DbErr, Value};
use uuid::Uuid;

use crate::{db::Sql, tenancy::SystemScope};

/// A set of rows and the update that takes them.
struct Write {
    columns: &'static str,
    rows: Vec<Vec<Value>>,
    /// What comes behind `UPDATE`: `… SET …`, with the columns of the rows.
    set: &'static str,
    /// What comes behind `WHERE`; which row is meant, by a column of the rows that is not null.
    matching: &'static str,
}

/// What one commit changes, each row of a table at most once.
pub(super) struct Writes {
    backend: DbBackend,
    changes: Vec<Write>,
}

/// What a set of few rows is filled up to on SQLite.
const FEW: usize = 16;

/// A mark finds its delivery claimed, and says so.
const MARK: &str = "deliveries SET state = 'sending' WHERE state = 'claimed' AND id";
const MARKED: &str = " RETURNING id";

impl Writes {
    /// None yet.
    pub(super) const fn new(backend: DbBackend) -> Self {
        Self { backend, changes: Vec::new() }
    }

    /// Adds a table's change; nothing where there are no rows.
    pub(super) fn add<R: IntoIterator<Item = Value>>(
        &mut self,
        columns: &'static str,
        rows: impl Iterator<Item = R>,
        (set, matching): (&'static str, &'static str),
    ) {
        let rows: Vec<Vec<Value>> = rows.map(|row| row.into_iter().collect()).collect();
        if !rows.is_empty() {
            self.changes.push(Write { columns, rows, set, matching });
        }
    }

    /// Makes the changes and marks these deliveries, of which none is among the changes. Answers how many marks found
    /// their delivery; of the changes, nothing says how many rows they met.
    pub(super) async fn run(mut self, system: &SystemScope, marks: &[Uuid]) -> Result<usize, DbErr> {
        if self.changes.is_empty() && marks.is_empty() {
            return Ok(0);
        }
        let sql = if self.backend == DbBackend::Postgres {
            self.in_one_statement(marks)
        } else {
            let marks = self.fill_up(marks);
            self.in_one_round(&marks)
        };
        system.query(&sql.text, sql.values).await.map(|marked| marked.len())
    }

    /// Rows of nulls match nothing, and an id named twice is one. Sums are often of one account, one campaign and a few
    /// lanes: they are not filled up to as many rows as there are messages.
    fn fill_up(&mut self, marks: &[Uuid]) -> Vec<Uuid> {
        let rows = self.changes.iter().map(|write| write.rows.len()).max().unwrap_or(0);
        let most = rows.max(marks.len()).next_power_of_two();
        let full = |rows: usize| match rows {
            0 | 1 => rows,
            2..=FEW => FEW.min(most),
            _ => most,
        };
        for write in &mut self.changes {
            if let Some(first) = write.rows.first() {
                let nulls: Vec<Value> = first.iter().map(Value::as_null).collect();
                write.rows.resize(full(write.rows.len()), nulls);
            }
        }
        let again = marks.last().into_iter().cycle();
        marks.iter().chain(again).take(full(marks.len())).copied().collect()
    }

    /// PostgreSQL takes one statement with parameters at a time. Changes in a `WITH` are all made, whether or not the
    /// statement reads them.
    fn in_one_statement(self, marks: &[Uuid]) -> Sql {
        let mut sql = Sql::new(self.backend, "");
        let many = self.changes.len();
        for (nth, write) in self.changes.into_iter().enumerate() {
            let last = marks.is_empty() && nth + 1 == many;
            sql.push(if nth == 0 { "WITH " } else { ", " });
            sql.push(&format!("v{nth} ({}) AS (", write.columns));
            sql.rows(write.rows);
            sql.push(")");
            let update = format!("UPDATE {} FROM v{nth} WHERE {}", write.set, write.matching);
            if last {
                sql.push(&format!(" {update}"));
            } else {
                sql.push(&format!(", w{nth} AS ({update} RETURNING 1)"));
            }
        }
        if !marks.is_empty() {
            sql.push(" ");
            mark(&mut sql, "UPDATE ", marks);
        }
        sql
    }

    /// SQLite takes several statements at a time. What none of them may leave half done ends their transaction: undone alone,
    /// each would keep a copy of every page that it changes.
    fn in_one_round(self, marks: &[Uuid]) -> Sql {
        let mut sql = Sql::new(self.backend, "");
        for write in self.changes {
            sql.push(&format!("WITH v ({}) AS (", write.columns));
            sql.rows(write.rows);
            sql.push(&format!(") UPDATE OR ROLLBACK {} FROM v WHERE {};", write.set, write.matching));
        }
        if !marks.is_empty() {
            mark(&mut sql, "UPDATE OR ROLLBACK ", marks);
        }
        sql
    }
}

fn mark(sql: &mut Sql, update: &str, marks: &[Uuid]) {
    sql.push(update);
    sql.push(MARK);
    sql.among(marks);
    sql.push(MARKED);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// How many rows and marks there are on SQLite, of a set of so many rows, another of one, and so many marks.
    #[rstest]
    #[case::alone((1, 1), (1, 1))]
    #[case::few((2, 3), (4, 4))]
    #[case::sixteen((16, 40), (16, 64))]
    #[case::more((17, 0), (32, 0))]
    #[case::fewer_marks((40, 5), (64, 16))]
    #[case::most((512, 512), (512, 512))]
    fn sets_are_filled_up_to_few_sizes(
        #[case] (rows, marks): (usize, usize),
        #[case] (full, marked): (usize, usize),
    ) {
        let mut writes = Writes::new(DbBackend::Sqlite);
        let row = |id: usize| [Value::from(u64::try_from(id).ok())];
        writes.add("v_id", (0..rows).map(row), ("t SET x = 1", "id = v_id"));
        writes.add("v_id", (0..1).map(row), ("u SET x = 1", "id = v_id"));
        let ids: Vec<Uuid> = (0..marks).map(|id| Uuid::from_u128(id as u128)).collect();
        let filled = writes.fill_up(&ids);
        let sizes: Vec<usize> = writes.changes.iter().map(|write| write.rows.len()).collect();
        assert_eq!((sizes, filled.len()), (vec![full, 1], marked));
        let there = |write: &Write| write.rows.iter().filter(|row| row.iter().all(Value::is_some)).count();
        assert_eq!(writes.changes.first().map(there), Some(rows), "none is lost, and what is added is null");
        assert!(filled.starts_with(&ids) && filled.iter().all(|id| ids.contains(id)));
    }
}
