//! Many contacts at once: rows checked at the edge become contacts in few statements, each of a set (ADR 9).
//!
//! Whoever calls this holds the account's addresses, or shares them (`suppressions::hold_addresses`, `share_addresses`).

use std::collections::{HashMap, HashSet};

use sea_orm::{DbBackend, QueryResult};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{custom_fields::CustomFields, email_address::EmailAddress, suppressions};
use crate::{
    clock::{Timestamp, new_id},
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult, Reason},
    tenancy::{Scope, SystemScope},
};

/// Rows of one statement, which travel as one parameter, and of one transaction where an import takes several: on SQLite
/// nobody may hold the one writer for half a second, on whatever disk.
const PER_CHUNK: usize = 2_500;
/// The greatest length of a name.
const NAME_CHARS: usize = 255;

/// A contact to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContact {
    /// Its address.
    pub email: EmailAddress,
    /// Its first name.
    pub first_name: Option<String>,
    /// Its last name.
    pub last_name: Option<String>,
    /// Its company.
    pub company: Option<String>,
    /// Its own fields.
    pub custom: CustomFields,
}

/// A row as a client gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenContact {
    /// What should be an address.
    pub email: Option<String>,
    /// Its first name.
    pub first_name: Option<String>,
    /// Its last name.
    pub last_name: Option<String>,
    /// Its company.
    pub company: Option<String>,
    /// Its own fields.
    pub custom: Value,
}

/// What is wrong with a row, field by field.
pub type RowFailures = Vec<(&'static str, Reason)>;

impl GivenContact {
    /// The contact of this row.
    ///
    /// # Errors
    /// The address as it was given, and every failure.
    pub fn check(self) -> Result<NewContact, (Option<String>, RowFailures)> {
        let Self { email: given, first_name, last_name, company, custom } = self;
        let mut failures = Vec::new();
        let email = EmailAddress::parse(given.as_deref().unwrap_or_default())
            .map_err(|reason| failures.push(("email", reason)))
            .ok();
        for (field, text) in [("first_name", &first_name), ("last_name", &last_name), ("company", &company)] {
            if let Some(reason) = text.as_deref().and_then(unfit_name) {
                failures.push((field, reason));
            }
        }
        let custom = CustomFields::parse(custom).map_err(|reason| failures.push(("custom", reason))).ok();
        match (email, custom) {
            (Some(email), Some(custom)) if failures.is_empty() => {
                Ok(NewContact { email, first_name, last_name, company, custom })
            }
            _ => Err((given, failures)),
        }
    }
}

/// Why a name cannot be stored, if it cannot. NUL is one reason: `PostgreSQL` has no place for it.
fn unfit_name(text: &str) -> Option<Reason> {
    if text.contains('\0') {
        return Some(Reason::Invalid);
    }
    text.chars().nth(NAME_CHARS).is_some().then_some(Reason::TooLong(NAME_CHARS))
}

/// Contacts that are to be made, as whoever adds them takes them: what can be done without a transaction is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    chunks: Vec<Chunk>,
    given: usize,
}

/// As many of them as one statement takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    rows: Vec<Keyed>,
    /// The rows as the database takes them where none is suppressed.
    list: String,
}

impl Ready {
    /// Puts them in the order of their addresses and spells them out. Two who share the account's addresses so wait for each
    /// other in one direction only: first for those that are freed, then for those that are added. Of equal ones the first
    /// stays.
    ///
    /// # Errors
    /// `internal_error`: none is known.
    pub fn new(contacts: Vec<NewContact>) -> ApiResult<Self> {
        let given = contacts.len();
        let mut rows: Vec<Keyed> = contacts.into_iter().map(Keyed::new).collect();
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        rows.dedup_by(|later, first| later.key == first.key);
        Ok(Self { chunks: chunks(rows)?, given })
    }

    /// How many were given, equal ones too.
    pub const fn len(&self) -> usize {
        self.given
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.given == 0
    }

    /// They, part by part.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Those that had these ids, as if they were given anew.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn anew(&self, ids: &HashSet<Uuid>) -> ApiResult<Vec<Chunk>> {
        let rows = self.chunks.iter().flat_map(|chunk| &chunk.rows).filter(|row| ids.contains(&row.id));
        chunks(rows.map(|row| Keyed::new(row.contact.clone())).collect())
    }
}

fn chunks(mut rows: Vec<Keyed>) -> ApiResult<Vec<Chunk>> {
    let mut chunks = Vec::with_capacity(rows.len().div_ceil(PER_CHUNK));
    while !rows.is_empty() {
        let rest = rows.split_off(rows.len().min(PER_CHUNK));
        chunks.push(Chunk { list: listed(&rows, &HashMap::new())?, rows });
        rows = rest;
    }
    Ok(chunks)
}

/// Adds contacts to an import; answers how many were added. An address that the account has already is left out. A
/// suppressed address is added as unsubscribed.
///
/// # Errors
/// What the database refuses.
pub async fn insert(
    scope: &Scope,
    key: &SuppressionKey,
    contact_import_id: Uuid,
    chunks: &[Chunk],
    Rare { suppressing, freeing }: Rare,
    now: Timestamp,
) -> ApiResult<u64> {
    let sql = insert_sql(scope.backend());
    if freeing {
        for chunk in chunks {
            release_addresses(scope, chunk.rows.iter().map(|row| row.key.as_str()), now).await?;
        }
    }
    let mut inserted = 0;
    for chunk in chunks {
        let list = chunk.list(scope, key, suppressing).await?;
        inserted += scope.execute(&sql, [contact_import_id.into(), now.micros().into(), list.into()]).await?;
    }
    Ok(inserted)
}

/// [`insert`] of one chunk; answers which were added.
///
/// # Errors
/// What the database refuses.
pub async fn insert_chunk(
    scope: &Scope,
    key: &SuppressionKey,
    contact_import_id: Uuid,
    chunk: &Chunk,
    Rare { suppressing, freeing }: Rare,
    now: Timestamp,
) -> ApiResult<Vec<Uuid>> {
    if freeing {
        release_addresses(scope, chunk.rows.iter().map(|row| row.key.as_str()), now).await?;
    }
    let list = chunk.list(scope, key, suppressing).await?;
    let sql = format!("{} RETURNING id", insert_sql(scope.backend()));
    let added = scope.query(&sql, [contact_import_id.into(), now.micros().into(), list.into()]).await?;
    Ok(added.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

impl Chunk {
    /// As the database takes it.
    async fn list(&self, scope: &Scope, key: &SuppressionKey, suppressing: bool) -> ApiResult<String> {
        let Self { rows, list } = self;
        let unsubscribed = if suppressing { suppressed(scope, key, rows).await? } else { HashMap::new() };
        if unsubscribed.is_empty() { Ok(list.clone()) } else { listed(rows, &unsubscribed) }
    }
}

/// Leaves it to the commit to look whether contacts refer to an import that is there. `PostgreSQL` asks a query for each row,
/// for which a transaction that stores very many need not be waited for.
///
/// # Errors
/// What the database refuses.
pub async fn check_late(system: &SystemScope) -> ApiResult<()> {
    if system.backend() == DbBackend::Postgres {
        system.execute("SET CONSTRAINTS fk_contacts_import DEFERRED", []).await?;
    }
    Ok(())
}

/// A contact to be made, with the id that it has by its place and the key of its address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keyed {
    id: Uuid,
    key: String,
    contact: NewContact,
}

impl Keyed {
    fn new(contact: NewContact) -> Self {
        Self { id: new_id(), key: contact.email.key(), contact }
    }
}

/// Those of these addresses that are suppressed, by their id, and since when.
async fn suppressed(
    scope: &Scope,
    key: &SuppressionKey,
    rows: &[Keyed],
) -> ApiResult<HashMap<Uuid, Timestamp>> {
    let hashes: Vec<_> = rows.iter().map(|row| key.hash(scope.account_id(), &row.key)).collect();
    let since = suppressions::among(scope, &hashes).await?;
    let found = rows.iter().zip(hashes).filter_map(|(row, hash)| Some((row.id, *since.get(&hash)?)));
    Ok(found.collect())
}

/// The rows as a list of lists in JSON, in the order in which [`insert_sql`] takes them apart. The key is left out where
/// it is the address itself, which it mostly is.
fn listed(rows: &[Keyed], unsubscribed: &HashMap<Uuid, Timestamp>) -> ApiResult<String> {
    let lists = rows.iter().map(|Keyed { id, key, contact }| {
        let NewContact { email, first_name, last_name, company, custom } = contact;
        (
            id.simple(),
            email.as_str(),
            (email.as_str() != key).then_some(key),
            first_name,
            last_name,
            company,
            (!custom.is_empty()).then_some(custom),
            unsubscribed.get(id).map(|since| since.micros()),
        )
    });
    serde_json::to_string(&lists.collect::<Vec<_>>()).map_err(ApiError::internal)
}

/// `$1` is the account, `$2` the import, `$3` now, `$4` the list. `uq_contacts_email` finds what the account has already.
/// `WHERE true` keeps SQLite from reading ON as part of a join (<https://www.sqlite.org/lang_upsert.html>, 2.2).
fn insert_sql(backend: DbBackend) -> String {
    let (list, id) = if backend == DbBackend::Postgres {
        ("jsonb_array_elements($4::jsonb) AS list(value)", "CAST(value ->> 0 AS uuid)")
    } else {
        ("json_each($4) AS list", "unhex(value ->> 0)")
    };
    format!(
        "INSERT INTO contacts (account_id, contact_import_id, created_at, id, email, email_key, first_name, last_name, \
         company, custom, unsubscribed_at) \
         SELECT $1, $2, $3, {id}, value ->> 1, COALESCE(value ->> 2, value ->> 1), value ->> 3, value ->> 4, \
         value ->> 5, NULLIF(value -> 6, 'null'), CAST(value ->> 7 AS bigint) \
         FROM {list} WHERE true ON CONFLICT (account_id, email_key) DO NOTHING"
    )
}

/// What most accounts need not ask of each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rare {
    /// The account has suppressions.
    suppressing: bool,
    /// It has another import that is hidden, whose contacts may still hold addresses.
    pub(super) freeing: bool,
}

impl Rare {
    /// Its columns in a statement whose `$1` is the account, and `$2` the import that asks, which may itself be hidden. The
    /// primary key of suppressions; `ix_contact_imports_hidden`
    pub const COLUMNS: &str = "(SELECT 1 FROM suppressions WHERE account_id = $1 LIMIT 1) IS NOT NULL AS suppressing, \
         (SELECT 1 FROM contact_imports ci WHERE ci.account_id = $1 AND ci.deleted_at IS NOT NULL AND ci.id <> $2 \
         LIMIT 1) IS NOT NULL AS freeing";

    /// From the row of that statement.
    ///
    /// # Errors
    /// `internal_error` where there is none.
    pub fn of(row: Option<QueryResult>) -> ApiResult<Self> {
        let row = row.ok_or_else(|| ApiError::internal("a look without an answer"))?;
        Ok(Self { suppressing: row.try_get("", "suppressing")?, freeing: row.try_get("", "freeing")? })
    }

    /// Asks by itself.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn ask(scope: &Scope, contact_import_id: Uuid) -> ApiResult<Self> {
        let sql = format!("SELECT {}", Self::COLUMNS);
        Self::of(scope.query_one(&sql, [contact_import_id.into()]).await?)
    }
}

/// Frees those of these addresses (in lower case) that only contacts of deleted imports still hold.
///
/// # Errors
/// What the database refuses.
pub async fn release_addresses(
    scope: &Scope,
    keys: impl IntoIterator<Item = &str>,
    now: Timestamp,
) -> ApiResult<()> {
    // uq_contacts_email. A scalar subquery, because a join could begin with the contacts of the deleted imports.
    let of_deleted =
        "(SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = contacts.contact_import_id) IS NOT NULL";
    let found = if scope.backend() == DbBackend::Postgres {
        format!(
            "id IN (SELECT id FROM contacts WHERE account_id = $1 AND email_key IN \
             (SELECT value FROM jsonb_array_elements_text($3::jsonb) AS list(value)) AND {of_deleted} \
             ORDER BY email_key COLLATE \"C\" FOR UPDATE)"
        )
    } else {
        format!("email_key IN (SELECT value FROM json_each($3) AS list) AND {of_deleted}")
    };
    let sql =
        format!("UPDATE contacts SET email_key = NULL, deleted_at = $2 WHERE account_id = $1 AND {found}");
    let keys = json!(keys.into_iter().collect::<Vec<_>>());
    scope.execute(&sql, [now.micros().into(), keys.to_string().into()]).await?;
    Ok(())
}
