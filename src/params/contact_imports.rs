//! Body of `POST /contact_imports`.
//!
//! Rows are checked while they are read, before the transaction begins, and no more of them are kept than an import
//! may have. A row that is not accepted does not spoil the others: it is left out and reported.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::custom::Custom;
use crate::{
    errors::{ApiError, ApiResult, Code, Failures},
    http::json::object,
    models::{
        contact_imports::{LeftOut, MOST_REPORTED, NewImport},
        contact_rows::{GivenContact, NewContact, Ready, RowFailures},
    },
};

/// The most contacts of one import in JSON.
const MOST_CONTACTS: usize = 50_000;
/// The greatest length of a name.
const NAME_CHARS: usize = 255;

/// An import to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewContactImport {
    #[serde(deserialize_with = "object")]
    contact_import: ImportFields,
}

/// The query of an import whose body is a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTable {
    /// The import's name, not checked.
    pub name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportFields {
    name: Option<String>,
    contacts: Option<Rows>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    custom: Option<Custom>,
}

/// The rows of a body, checked.
#[derive(Debug, Default)]
pub struct Rows {
    /// Those that can be imported.
    pub valid: Vec<NewContact>,
    /// The first of those that cannot.
    pub invalid: Vec<InvalidRow>,
    /// How many cannot.
    pub invalid_count: u64,
    total: usize,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRow {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The address as it was given.
    pub email: Option<String>,
    failures: RowFailures,
}

impl From<InvalidRow> for LeftOut {
    fn from(row: InvalidRow) -> Self {
        Self::new(u64::try_from(row.index).unwrap_or(u64::MAX), row.email.as_deref(), row.failures)
    }
}

impl NewContactImport {
    /// The import, at least one of its rows valid.
    ///
    /// # Errors
    /// `payload_too_large` above 50,000 rows, `no_contacts_provided` without any, `validation_failed` for the name or
    /// when no row is valid.
    pub fn parse(self) -> ApiResult<NewImport> {
        let ImportFields { name, contacts } = self.contact_import;
        let rows = contacts.unwrap_or_default();
        if rows.total > MOST_CONTACTS {
            return Err(ApiError::new(Code::PayloadTooLarge)
                .message(format!("An import has at most {MOST_CONTACTS} contacts in JSON")));
        }
        if rows.total == 0 {
            return Err(ApiError::new(Code::NoContactsProvided));
        }
        let name = name.unwrap_or_default();
        let mut failures = Failures::new();
        failures.text("name", &name, NAME_CHARS);
        if rows.valid.is_empty() {
            for row in &rows.invalid {
                failures.nested(&format!("contacts[{}]", row.index), |nested| {
                    row.failures.iter().for_each(|(field, reason)| nested.add(field, reason.clone()));
                });
            }
        }
        failures.into_result()?;
        let Rows { valid, invalid, invalid_count, total: _ } = rows;
        let invalid = invalid.into_iter().map(LeftOut::from).collect();
        Ok(NewImport { name, valid: Ready::new(valid)?, invalid, invalid_count })
    }
}

impl Rows {
    fn take(&mut self, row: RawRow) {
        let index = self.total;
        self.total += 1;
        let RawRow { email, first_name, last_name, company, custom } = row;
        let given = GivenContact {
            email,
            first_name,
            last_name,
            company,
            custom: custom.map(|Custom(value)| value).unwrap_or_default(),
        };
        match given.check() {
            Ok(contact) => self.valid.push(contact),
            Err((email, failures)) => {
                self.invalid_count += 1;
                if self.invalid.len() < MOST_REPORTED {
                    self.invalid.push(InvalidRow { index, email, failures });
                }
            }
        }
    }
}

/// Like a row, but only from an object: serde's derived structs take arrays as well.
struct Row(RawRow);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
        let mut rows = Rows::default();
        while rows.total < MOST_CONTACTS {
            let Some(Row(row)) = seq.next_element()? else { return Ok(rows) };
            rows.take(row);
        }
        // Past the bound nothing is kept: 32 MiB hold millions of empty rows.
        while seq.next_element::<IgnoredAny>()?.is_some() {
            rows.total += 1;
        }
        Ok(rows)
    }
}
