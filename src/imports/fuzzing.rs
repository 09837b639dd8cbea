//! A table read without a database, for the fuzzer (`fuzz/targets/table.rs`): as `upload` and `slice` do, from pieces
//! of any length. Compiled for it and for the tests only.

use serde_json::Value;

use super::{
    columns::{Columns, refused},
    records::{Cut, Cutter},
};
use crate::{
    errors::Failures,
    models::contact_rows::{NewContact, RowFailures},
};

/// A record behind the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it ends, in bytes from the beginning of the text.
    pub end: usize,
    /// What it says.
    pub contact: Result<NewContact, (Option<String>, RowFailures)>,
}

/// The columns as they are stored, and the rows. `known`: the columns, where the text begins behind the header. `None`
/// for a header that is refused.
pub fn read(pieces: &[&[u8]], known: Option<&Value>) -> Option<(Value, Vec<Row>)> {
    let mut columns = known.map(Columns::from_stored);
    let (mut cutter, mut rows, mut end) = (Cutter::new(), Vec::new(), 0);
    // An empty piece is the end of the text.
    let mut pieces = pieces.iter().copied().filter(|piece| !piece.is_empty());
    let mut rest = pieces.next().unwrap_or_default();
    loop {
        let (taken, cut) = cutter.take(rest);
        rest = rest.get(taken..).unwrap_or_default();
        end += taken;
        match (cut, &columns) {
            (Cut::Hungry, _) => {}
            (Cut::End, _) => return columns.map(|columns| (columns.to_value(), rows)),
            (Cut::Whole, None) => {
                let mut failures = Failures::new();
                columns = Columns::read(cutter.fields(), &mut failures);
                failures.into_result().ok()?;
            }
            (Cut::TooLarge, None) => return None,
            (Cut::Whole, Some(columns)) => rows.push(Row { end, contact: columns.contact(cutter.fields()) }),
            (Cut::TooLarge, Some(_)) => rows.push(Row { end, contact: Err(refused(None, "is too large")) }),
        }
        if rest.is_empty() {
            rest = pieces.next().unwrap_or_default();
        }
    }
}
