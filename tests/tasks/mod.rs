//! The operator's tasks, run as an operator runs them: a process, its words, its exit status, and what it writes where.

mod accounts;
mod campaigns;
mod doctor;
mod erase;
mod erase_at_stripe;
mod export;
mod imports;
mod keys;
mod manual;
mod plans;
mod queues;

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::Value as Json;
use testkit::child::Builder;

use crate::{
    faults::process,
    support::{Client, World, rows},
};

const DEADLINE: Duration = Duration::from_secs(120);

/// How a task ended.
pub struct Ran {
    pub well: bool,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The answer of a task that must have ended well.
    pub fn json(&self) -> Json {
        assert!(self.well, "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The line that a task that must have failed ended with.
    pub fn refusal(&self) -> &str {
        assert!(!self.well, "{}", self.out);
        self.err.lines().last().unwrap_or_default()
    }
}

/// A task on the world's database, not yet started.
pub fn prepared(w: &World, words: &[&str]) -> Builder {
    // One that waits for the dead waits two seconds.
    let task = process(w).env("ENGINE_DEAD_AFTER_SECONDS", "2");
    task.env("LOG_LEVEL", "info").arg("task").args(words.iter().copied())
}

/// Runs it to its end.
pub async fn end_of(task: &Builder) -> Ran {
    let output = task.run(DEADLINE).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { well: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs a task.
pub async fn run(w: &World, words: &[&str]) -> Ran {
    end_of(&prepared(w, words)).await
}

/// Runs a task that must end well; answers what it said to a program.
pub async fn answer(w: &World, words: &[&str]) -> Json {
    run(w, &[words, &["format:json"]].concat()).await.json()
}

/// Starts a task that stops at a named point after so many passes, and kills it there as a power cut would.
pub async fn killed_at(w: &World, words: &[&str], point: &str, passes: usize) {
    let task = prepared(w, words);
    let marker = task.path("held");
    let armed = format!("{point}={passes}*off->return({})", marker.display());
    let mut held = task.env("FAILPOINTS", armed).start().unwrap();
    held.wait_for_file("held", DEADLINE).await.unwrap();
    held.kill_9().await.unwrap();
}

/// One row of every table for each account.
pub async fn rows_of_both(w: &World) -> [rows::Rows; 2] {
    let both = [&w.alice, &w.bob].map(|owner| rows::Rows::of(owner.account_id.parse().unwrap()));
    for rows in &both {
        rows.store(&w.ctx.db).await;
        rows::insert(&w.ctx.db, &rows.period).await.unwrap();
        rows::insert(&w.ctx.db, &rows.usage).await.unwrap();
        let event = "INSERT INTO stripe_events (id, account_id, kind, payload, received_at) \
                     VALUES ($1, $2, 'invoice.paid', '{}', 0)";
        w.sql(event, [format!("evt_{}", rows.account_id).into(), rows.account_id.into()]).await;
    }
    both
}

/// Every table that has an account's rows, by the schema itself.
pub async fn tables_of_accounts(w: &World) -> Vec<String> {
    let backend = w.ctx.db.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT table_name AS name FROM information_schema.columns \
             WHERE table_schema = 'public' AND column_name = 'account_id' ORDER BY 1"
        }
        DbBackend::Sqlite | DbBackend::MySql | _ => {
            "SELECT m.name AS name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'account_id' \
             WHERE m.type = 'table' ORDER BY 1"
        }
    };
    let rows = w.ctx.db.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    rows.iter().map(|row| row.try_get("", "name").unwrap()).collect()
}

/// How many rows of an account each of these tables has.
pub async fn counts(w: &World, owner: &Client, tables: &[String]) -> Vec<(String, i64)> {
    let account: uuid::Uuid = owner.account_id.parse().unwrap();
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE account_id = $1");
        found.push((table.clone(), w.number(&sql, [account.into()]).await));
    }
    found
}
