//! Many contacts at once: rows checked at the edge become contacts in few statements.
//!
//! Whoever calls this holds the account's addresses (`suppressions::hold_addresses`).

use sea_orm::Value as Bound;
use serde_json::Value;
use uuid::Uuid;

use super::{custom_fields::CustomFields, email_address::EmailAddress, sql::holes, suppressions};
use crate::{
    clock::{Timestamp, new_id},
    crypto::SuppressionKey,
    errors::{ApiResult, Reason},
    tenancy::Scope,
};

/// Rows of one statement. All statements but the last have the same text, so that the database prepares it once.
const PER_STATEMENT: usize = 500;
/// Parameters that differ from row to row.
const PER_ROW: usize = 8;
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

/// Adds contacts to an import; answers how many were added. An address that the account has already, or that comes
/// again among the rows, is left out. A suppressed address is added as unsubscribed.
///
/// # Errors
/// What the database refuses.
pub async fn insert(
    scope: &Scope,
    key: &SuppressionKey,
    contact_import_id: Uuid,
    rows: Vec<NewContact>,
    now: Timestamp,
) -> ApiResult<u64> {
    let suppressing = suppressions::any(scope).await?;
    let mut rows = rows.into_iter();
    let mut inserted = 0;
    loop {
        let chunk: Vec<NewContact> = rows.by_ref().take(PER_STATEMENT).collect();
        if chunk.is_empty() {
            return Ok(inserted);
        }
        let keys: Vec<String> = chunk.iter().map(|row| row.email.key()).collect();
        release_addresses(scope, &keys, now).await?;
        let unsubscribed =
            if suppressing { suppressed(scope, key, &keys).await? } else { vec![None; keys.len()] };
        let count = chunk.len();
        let values = chunk
            .into_iter()
            .zip(keys)
            .zip(unsubscribed)
            .flat_map(|((row, key), since)| bind(row, key, since));
        let shared = [contact_import_id.into(), now.micros().into()];
        inserted += scope.execute(&insert_sql(count), shared.into_iter().chain(values)).await?;
    }
}

/// For each address, since when it is suppressed.
async fn suppressed(
    scope: &Scope,
    key: &SuppressionKey,
    emails: &[String],
) -> ApiResult<Vec<Option<Timestamp>>> {
    let hashes: Vec<_> = emails.iter().map(|email| key.hash(scope.account_id(), email)).collect();
    let since = suppressions::among(scope, &hashes).await?;
    Ok(hashes.iter().map(|hash| since.get(hash).copied()).collect())
}

fn bind(row: NewContact, key: String, unsubscribed_at: Option<Timestamp>) -> [Bound; PER_ROW] {
    let NewContact { email, first_name, last_name, company, custom } = row;
    let custom: Option<Value> = (!custom.is_empty()).then(|| custom.into());
    [
        new_id().into(),
        email.as_str().to_owned().into(),
        key.into(),
        first_name.into(),
        last_name.into(),
        company.into(),
        custom.into(),
        unsubscribed_at.map(Timestamp::micros).into(),
    ]
}

/// `$1` is the account, `$2` the import, `$3` now. `uq_contacts_email` finds what the account has already.
fn insert_sql(rows: usize) -> String {
    let values: Vec<String> =
        (0..rows).map(|row| format!("($1, $2, $3, {})", holes(4 + row * PER_ROW, PER_ROW))).collect();
    format!(
        "INSERT INTO contacts (account_id, contact_import_id, created_at, id, email, email_key, first_name, last_name, \
         company, custom, unsubscribed_at) VALUES {} ON CONFLICT (account_id, email_key) DO NOTHING",
        values.join(", ")
    )
}

/// Frees those of these addresses (in lower case) that only contacts of deleted imports still hold.
///
/// # Errors
/// What the database refuses.
pub async fn release_addresses(scope: &Scope, keys: &[String], now: Timestamp) -> ApiResult<()> {
    // uq_contacts_email
    let sql = format!(
        "UPDATE contacts SET email_key = NULL, deleted_at = $2 WHERE account_id = $1 AND email_key IN ({}) \
         AND EXISTS (SELECT 1 FROM contact_imports ci WHERE ci.id = contacts.contact_import_id \
         AND ci.deleted_at IS NOT NULL)",
        holes(3, keys.len())
    );
    let now = std::iter::once(now.micros().into());
    scope.execute(&sql, now.chain(keys.iter().map(|key| key.clone().into()))).await?;
    Ok(())
}
