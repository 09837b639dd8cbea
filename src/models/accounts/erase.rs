//! Erasing an account. [`begin`] locks its owner out and stops everything at once; then its rows go in batches, by
//! `models::removal` as far as campaigns, contacts and webhooks go, and here for the rest. Whoever is killed on the way is
//! followed by the sweeper, or by the next run. The last step waits until Stripe has forgotten the account too
//! (`billing::customers`): whoever had its payment page open could pay for it still.
//!
//! The row of the account stays, without its address: the hashes of who unsubscribed from it hang on it.

use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::{RowLock, key_lock_sql, lock_sql},
    errors::{ApiError, ApiResult},
    jobs,
    models::{accounts, periods},
    tenancy::{Scope, SystemScope},
};

/// Rows of one transaction.
const BATCH: i64 = 500;
/// How long after its end an erased account is looked at again: a request that had begun before may have stored
/// something, and the longest, an upload, lasts an hour.
const WATCHED_MICROS: i64 = 2 * 3_600_000_000;

/// What hangs on an account beside campaigns, contacts and webhooks, with its primary key, in the order in which it can go.
const REST: [(&str, &str); 9] = [
    ("subscriptions", "id"),
    ("stripe_events", "id"),
    ("parked_mails", "id"),
    ("mailboxes", "id"),
    ("outreaches", "id"),
    ("api_keys", "id"),
    ("idempotency_keys", "account_id, id"),
    ("usage_hours", "account_id, hour, client_kind, method, path"),
    ("account_periods", "account_id, period_start"),
];

/// What the rows above wait for: `removal` takes them, as soon as no lane holds any of it.
const BEFORE: [&str; 4] = ["campaigns", "contact_imports", "import_uploads", "webhooks"];

/// The subscription that Stripe would go on charging for. Once an account is being erased, nobody follows its events.
///
/// # Errors
/// What the database refuses.
async fn paying(scope: &Scope) -> ApiResult<Option<String>> {
    // One that gives no plan is charged for as well: of an unknown price, unpaid, paused.
    let sql = "SELECT coalesce(a.stripe_subscription_id, (SELECT s.stripe_id FROM subscriptions s \
               WHERE s.account_id = a.id AND s.fetch_stored > 0 \
               AND s.ended_at IS NULL AND s.status NOT IN ('canceled', 'incomplete_expired') ORDER BY s.subscribed_at DESC LIMIT 1)) \
               AS stripe_subscription_id FROM accounts a WHERE a.id = $1 AND a.deleted_at IS NULL";
    let row = scope.query_one(sql, []).await?;
    Ok(row.map(|row| row.try_get("", "stripe_subscription_id")).transpose()?.flatten())
}

/// Locks the owner out and stops what the account was sending, in one transaction. Repeatable.
///
/// # Errors
/// `unprocessable` when Stripe would go on charging for it; what the database refuses.
pub async fn begin(scope: &Scope, now: Timestamp) -> ApiResult<()> {
    // Whoever stores what Stripe says locks the account too: what is seen here is so until the commit.
    let lock = key_lock_sql(scope.backend());
    scope.query(&format!("SELECT id FROM accounts WHERE id = $1{lock}"), []).await?;
    if let Some(subscription) = paying(scope).await? {
        return Err(ApiError::unprocessable(format!(
            "the account's subscription {subscription} still runs at Stripe: cancel it there first"
        )));
    }
    let sql = "UPDATE accounts SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";
    scope.execute(sql, [now.micros().into()]).await?;
    hide(scope, now).await.map(|_| ())
}

/// Marks all that the account has as deleted; answers whether anything was not. In the order of locks: the account, its
/// periods, its campaigns, what is below them, its webhooks.
///
/// A list that is being stored (`staged_imports`) would be deleted in some minutes: it goes now. Nobody adds to it any more, nor
/// has it seen, once the account is gone.
async fn hide(scope: &Scope, now: Timestamp) -> ApiResult<bool> {
    periods::hold_all(scope).await?;
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql =
        format!("SELECT id FROM campaigns WHERE account_id = $1 AND deleted_at IS NULL ORDER BY id{lock}");
    scope.query(&sql, []).await?;
    let mut changed = 0;
    for sql in [
        "UPDATE campaigns SET deleted_at = $2, status = CASE status WHEN 'active' THEN 'paused' ELSE status END \
         WHERE account_id = $1 AND deleted_at IS NULL",
        "UPDATE contact_imports SET deleted_at = $2 \
         WHERE account_id = $1 AND (deleted_at IS NULL OR deleted_at > $2)",
    ] {
        changed += scope.execute(sql, [now.micros().into()]).await?;
    }
    let sql = "UPDATE smtp_credentials SET wake_at = NULL WHERE account_id = $1 AND wake_at IS NOT NULL";
    changed += scope.execute(sql, []).await?;
    // Uploads without an import: the sweeper takes those that are old.
    let sql = "UPDATE import_uploads SET created_at = 0 \
               WHERE account_id = $1 AND contact_import_id IS NULL AND created_at <> 0";
    changed += scope.execute(sql, []).await?;
    // What is told of all this comes last.
    for sql in [
        "UPDATE webhooks SET deleted_at = $2 WHERE account_id = $1 AND deleted_at IS NULL",
        "UPDATE api_keys SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL",
    ] {
        changed += scope.execute(sql, [now.micros().into()]).await?;
    }
    Ok(changed > 0)
}

/// Removes a batch of what is left of erased accounts once `removal` found nothing of theirs. `false`: nothing is left
/// that could be removed now.
///
/// # Errors
/// What the database refuses.
pub async fn remove_some(system: &SystemScope, now: Timestamp) -> ApiResult<bool> {
    // ix_accounts_deleted; in the order in which a ledger locks the periods of its accounts.
    let sql = "SELECT id, erased_at FROM accounts WHERE deleted_at IS NOT NULL \
               AND (erased_at IS NULL OR erased_at > $1) ORDER BY id";
    for row in system.query(sql, [(now.micros() - WATCHED_MICROS).into()]).await? {
        let scope = system.account(row.try_get("", "id")?);
        let ended: Option<Timestamp> = row.try_get("", "erased_at")?;
        if hide(&scope, now).await? || remove_rest(&scope).await? {
            return Ok(true);
        }
        if ended.is_none() && !is_held_up(&scope).await? && accounts::customer(&scope).await?.is_none() {
            jobs::forget(&system.db(), scope.account_id()).await?;
            forget_owner(&scope, now).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// One batch of one account.
async fn remove_rest(scope: &Scope) -> ApiResult<bool> {
    if is_held_up(scope).await? {
        return Ok(false);
    }
    for (table, key) in REST {
        let sql = format!(
            "DELETE FROM {table} WHERE account_id = $1 AND ({key}) IN \
             (SELECT {key} FROM {table} WHERE account_id = $1 LIMIT $2)"
        );
        if scope.execute(&sql, [BATCH.into()]).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is something that has to go before.
async fn is_held_up(scope: &Scope) -> ApiResult<bool> {
    for table in BEFORE {
        if has_any(scope, table).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ids and addresses of accounts whose erasing has begun and not ended. `ix_accounts_deleted`
///
/// # Errors
/// What the database refuses.
pub async fn begun(system: &SystemScope) -> ApiResult<Vec<(Uuid, String)>> {
    let sql = "SELECT id, email FROM accounts WHERE deleted_at IS NOT NULL AND erased_at IS NULL ORDER BY id";
    let of_row = |row: &QueryResult| Ok::<_, DbErr>((row.try_get("", "id")?, row.try_get("", "email")?));
    Ok(system.query(sql, []).await?.iter().map(of_row).collect::<Result<_, _>>()?)
}

/// Notes that Stripe does not know the account any more, which the end of its erasing waits for.
///
/// # Errors
/// What the database refuses.
pub async fn forget_customer(scope: &Scope) -> ApiResult<()> {
    let sql = "UPDATE accounts SET stripe_customer_id = NULL WHERE id = $1 AND deleted_at IS NOT NULL";
    scope.execute(sql, []).await?;
    Ok(())
}

/// The last of all: the address, which is free from then on.
async fn forget_owner(scope: &Scope, now: Timestamp) -> ApiResult<()> {
    let sql = "UPDATE accounts SET email = $2, name = NULL, stripe_subscription_id = NULL, \
               subscription_start = NULL, subscription_end = NULL, erased_at = $3 \
               WHERE id = $1 AND erased_at IS NULL";
    let nobody = format!("{}@erased.invalid", scope.account_id());
    scope.execute(sql, [nobody.into(), now.micros().into()]).await?;
    Ok(())
}

async fn has_any(scope: &Scope, table: &str) -> ApiResult<bool> {
    let sql = format!("SELECT 1 AS one FROM {table} WHERE account_id = $1 LIMIT 1");
    Ok(scope.query_one(&sql, []).await?.is_some())
}

/// When the last row of an account was gone, if it is.
///
/// # Errors
/// What the database refuses.
pub async fn ended_at(system: &SystemScope, id: Uuid) -> ApiResult<Option<Timestamp>> {
    let row = system.query_one("SELECT erased_at FROM accounts WHERE id = $1", [id.into()]).await?;
    Ok(row.map(|row| row.try_get("", "erased_at")).transpose()?.flatten())
}
