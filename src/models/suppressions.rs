//! Addresses that unsubscribed, kept as keyed hashes that outlive the contact.
//!
//! What is held here is never sent to again by the account. An import and a change of address look here, and the send
//! path looks again before every message.

mod searches;

pub use searches::Searches;

use std::{collections::HashMap, time::Duration};

use sea_orm::DbBackend;
use uuid::Uuid;

use super::{accounts, contacts, enrollments, former_addresses::SENT_TO, sql::holes};
use crate::{
    clock::Timestamp,
    crypto::{SuppressionKey, links::UnsubscribeLink},
    db::Db,
    errors::ApiResult,
    tenancy::{Conn, Scope, SystemScope},
};

/// The keyed hash of an address in its account.
pub type AddressHash = [u8; 32];

/// The first number of the advisory locks that stand for the addresses of an account.
const ADDRESSES: i32 = 1;
/// Hashes of one statement.
const PER_STATEMENT: usize = 500;
/// Contacts of one page of a search by hash.
const PER_PAGE: i64 = 5_000;
/// How long a repeated click may search all contacts once more.
const SEARCHED_AGAIN_FOR: Duration = Duration::from_secs(6 * 3600);

/// Keeps everybody from adding addresses to the account and from suppressing them until the transaction ends, so that an
/// address is never added between the look at the suppressions and the commit. False when the account is gone.
///
/// Nothing else waits for it: the lock leaves foreign keys to the account alone. Taken before any other lock.
///
/// # Errors
/// What the database refuses.
pub async fn hold_addresses(scope: &Scope) -> ApiResult<bool> {
    if scope.backend() == DbBackend::Postgres {
        scope.query(&addresses_lock_sql("pg_advisory_xact_lock"), []).await?;
    }
    accounts::hold(scope).await
}

/// Keeps everybody from suppressing addresses, and leaves others to add theirs. These wait for each other where they add the
/// same address, so whoever shares takes addresses in their order. SQLite has one writer anyway. Taken before any other lock.
///
/// # Errors
/// What the database refuses.
pub async fn share_addresses(scope: &Scope) -> ApiResult<()> {
    if scope.backend() == DbBackend::Postgres {
        scope.query(&addresses_lock_sql("pg_advisory_xact_lock_shared"), []).await?;
    }
    Ok(())
}

/// An advisory lock stands for the addresses of account `$1`: whoever waits for it alone has its turn before those who
/// come later and would share it, which is not so with the lock of a row.
fn addresses_lock_sql(function: &str) -> String {
    format!("SELECT {function}({ADDRESSES}, hashtext(CAST($1 AS text)))")
}

/// Which of these hashes are suppressed, and since when.
///
/// # Errors
/// What the database refuses.
pub async fn among(scope: &Scope, hashes: &[AddressHash]) -> ApiResult<HashMap<AddressHash, Timestamp>> {
    let mut found = HashMap::new();
    for chunk in hashes.chunks(PER_STATEMENT) {
        // The primary key serves it.
        let sql = format!(
            "SELECT email_hash, created_at FROM suppressions WHERE account_id = $1 AND email_hash IN ({})",
            holes(2, chunk.len())
        );
        for row in scope.query(&sql, chunk.iter().map(|hash| hash.to_vec().into())).await? {
            let hash: Vec<u8> = row.try_get("", "email_hash")?;
            if let Ok(hash) = hash.try_into() {
                found.insert(hash, row.try_get("", "created_at")?);
            }
        }
    }
    Ok(found)
}

/// Since when this address is suppressed, if it is.
///
/// # Errors
/// What the database refuses.
pub async fn since(scope: &Scope, key: &SuppressionKey, email: &str) -> ApiResult<Option<Timestamp>> {
    let hash = key.hash(scope.account_id(), email);
    Ok(among(scope, &[hash]).await?.remove(&hash))
}

/// Does what an unsubscribe link asks for. Repeatable: a click finishes what an earlier one left undone when it was cut
/// off, and costs two looks once all is done.
///
/// # Errors
/// What the database refuses.
pub async fn unsubscribe_link(
    db: &Db,
    key: &SuppressionKey,
    searches: &Searches,
    link: UnsubscribeLink,
    now: Timestamp,
) -> ApiResult<()> {
    let UnsubscribeLink { account_id, suppression_hash, enrollment_id } = link;
    let reading = SystemScope::new(Conn::Pool(db.pool().clone())).account(account_id);
    let since = among(&reading, &[suppression_hash]).await?.remove(&suppression_hash);
    let search = Search { key, hash: suppression_hash };
    let known = search.of_enrollment(&reading, enrollment_id).await?;
    if let Some(since) = since
        && is_noted(&reading, known.as_deref(), since, now).await?
    {
        return Ok(());
    }
    let add = async |system: &SystemScope| {
        let scope = system.account(account_id);
        if suppress(&scope, &suppression_hash, now).await? {
            stop_address(&scope, known.as_deref(), now).await?;
        }
        ApiResult::Ok(())
    };
    SystemScope::in_transaction(db, add).await?;
    if known.is_some() {
        return Ok(());
    }
    // The address may be another contact's by now. Whoever takes it from here on finds the suppression, and whoever
    // took it before is found here: the two go one at a time (`hold_addresses`). The send path does not wait for this.
    let sought = (account_id, suppression_hash);
    let found = searches.find(sought, async || search.everywhere(&reading).await).await?;
    let Some(email) = found else { return Ok(()) };
    SystemScope::in_transaction(db, async |system| {
        stop_address(&system.account(account_id), Some(&email), now).await
    })
    .await
}

/// Whether a click for an address that is suppressed since then has nothing left to do. The contact is marked in the
/// transaction that stopped what was to go to it. Whose contact it is now is searched for in the first hours only: the
/// search reads a lot, anybody with a link can ask for it, and nothing is sent to the address either way.
async fn is_noted(scope: &Scope, known: Option<&str>, since: Timestamp, now: Timestamp) -> ApiResult<bool> {
    let Some(email) = known else { return Ok(since.plus(SEARCHED_AGAIN_FOR) <= now) };
    let Some(id) = contacts::id_by_address(scope, email).await? else { return Ok(true) };
    let sql = "SELECT 1 AS one FROM contacts WHERE account_id = $1 AND id = $2 AND unsubscribed_at IS NULL";
    Ok(scope.query_one(sql, [id.into()]).await?.is_none())
}

/// Unsubscribes an address in this account for good: the suppression, the contact, everything that was still to go
/// to it. Repeatable.
///
/// # Errors
/// What the database refuses.
pub async fn unsubscribe(scope: &Scope, key: &SuppressionKey, email: &str, now: Timestamp) -> ApiResult<()> {
    if suppress(scope, &key.hash(scope.account_id(), email), now).await? {
        stop_address(scope, Some(email), now).await?;
    }
    Ok(())
}

/// Looks for the contact's address behind a hash. Only the installation's key can tell, so that the database cannot
/// help: it reads a lot in the worst case.
struct Search<'a> {
    key: &'a SuppressionKey,
    hash: AddressHash,
}

impl Search<'_> {
    fn matches(&self, scope: &Scope, email: &str) -> bool {
        self.key.hash(scope.account_id(), email) == self.hash
    }

    /// Where it is likeliest: where the messages of the enrollment went that the link belonged to.
    async fn of_enrollment(&self, scope: &Scope, enrollment_id: Uuid) -> ApiResult<Option<String>> {
        // uq_enrollments_account, uq_contacts_account
        let sql = format!(
            "SELECT {SENT_TO} AS email FROM enrollments e \
             JOIN contacts c ON c.account_id = e.account_id AND c.id = e.contact_id \
             WHERE e.account_id = $1 AND e.id = $2"
        );
        let Some(row) = scope.query_one(&sql, [enrollment_id.into()]).await? else { return Ok(None) };
        let email: String = row.try_get("", "email")?;
        Ok(Some(email).filter(|email| self.matches(scope, email)))
    }

    /// At every contact, in the order of their making, page by page and outside a transaction. Through [`Searches`] only.
    async fn everywhere(&self, scope: &Scope) -> ApiResult<Option<String>> {
        let mut after = Uuid::nil();
        loop {
            // uq_contacts_account, in the order of ids
            let sql = "SELECT id, email FROM contacts WHERE account_id = $1 AND id > $2 \
                       AND email_key IS NOT NULL ORDER BY id LIMIT $3";
            let page = scope.query(sql, [after.into(), PER_PAGE.into()]).await?;
            for row in &page {
                let email: String = row.try_get("", "email")?;
                if self.matches(scope, &email) {
                    return Ok(Some(email));
                }
            }
            let Some(last) = page.last() else { return Ok(None) };
            after = last.try_get("", "id")?;
        }
    }
}

/// Adds the suppression, and holds the account's addresses. False when the account is gone.
async fn suppress(scope: &Scope, hash: &AddressHash, now: Timestamp) -> ApiResult<bool> {
    if !hold_addresses(scope).await? {
        return Ok(false);
    }
    let sql = "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, $3) \
               ON CONFLICT (account_id, email_hash) DO NOTHING";
    scope.execute(sql, [hash.to_vec().into(), now.micros().into()]).await?;
    Ok(true)
}

/// Stops what was still to go to an address, and marks what went to it and the contact that has it.
async fn stop_address(scope: &Scope, email: Option<&str>, now: Timestamp) -> ApiResult<()> {
    let Some(email) = email else { return Ok(()) };
    enrollments::stop_address(scope, email, now).await?;
    match contacts::id_by_address(scope, email).await? {
        Some(contact_id) => contacts::note_unsubscribed(scope, contact_id, now).await,
        None => Ok(()),
    }
}
