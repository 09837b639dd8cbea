//! Small pieces of set-based statements.

use std::fmt::Write as _;

use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// Characters of an id in hexadecimal without hyphens.
const HEX: usize = 32;

/// `$from, $from+1, …`: as many parameters as a list has members. An empty list is `NULL`, which matches nothing.
pub fn holes(from: usize, count: usize) -> String {
    if count == 0 {
        return "NULL".to_owned();
    }
    let mut list = String::with_capacity(count * 6);
    for number in from..from + count {
        if number > from {
            list.push(',');
        }
        // Writing to a String cannot fail.
        if write!(list, "${number}").is_err() {
            break;
        }
    }
    list
}

/// Ids as parameters.
pub fn uuids(ids: &[Uuid]) -> impl Iterator<Item = Value> + '_ {
    ids.iter().map(|id| Value::from(*id))
}

/// Rows of ids that travel to the database as one parameter: the text of the statement stays the same for any number,
/// and no bound of parameters is met. Each row is some ids in hexadecimal, then a text.
#[derive(Clone, Debug)]
pub struct Listed(String);

impl Listed {
    /// An empty list with room for `rows` of so many characters.
    pub fn with_capacity(rows: usize, width: usize) -> Self {
        let mut text = String::with_capacity(rows * width + 2);
        text.push('[');
        Self(text)
    }

    /// Whether nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Adds a row. `rest` must need no escaping in JSON: digits, say.
    pub fn push(&mut self, ids: &[Uuid], rest: &str) {
        self.0.push_str(if self.is_empty() { "\"" } else { ",\"" });
        let mut hex = Uuid::encode_buffer();
        for id in ids {
            self.0.push_str(id.as_simple().encode_lower(&mut hex));
        }
        self.0.push_str(rest);
        self.0.push('"');
    }

    /// The parameter.
    pub fn into_value(mut self) -> Value {
        self.0.push(']');
        self.0.into()
    }

    /// The list as a table, the parameter being `$hole`.
    pub fn table(&self, backend: DbBackend, hole: usize) -> String {
        if backend == DbBackend::Postgres {
            format!("jsonb_array_elements_text(${hole}::jsonb) AS list(value)")
        } else {
            format!("json_each(${hole}) AS list")
        }
    }

    /// The id at `index` of a row.
    pub fn id(&self, backend: DbBackend, index: usize) -> String {
        let from = index * HEX + 1;
        if backend == DbBackend::Postgres {
            format!("substr(list.value, {from}, {HEX})::uuid")
        } else {
            format!("unhex(substr(list.value, {from}, {HEX}))")
        }
    }

    /// What follows `ids` ids in a row.
    pub fn rest(&self, ids: usize) -> String {
        format!("substr(list.value, {})", ids * HEX + 1)
    }
}
