//! Mailboxes that are read for answers and notices: one row for each that the credentials of an account name, however
//! many name it. Reading itself is `inbox/`'s; here is which rows there are, and where reading stands.
//!
//! A mailbox is the last in the order of locks: credentials before it, and everything that a mail changes.

use std::collections::{BTreeMap, HashSet};

use sea_orm::DbBackend;
use uuid::Uuid;

pub use super::_entities::mailboxes::{ActiveModel, Column, Entity, Model};
use super::smtp_credentials;
use crate::{
    clock::{Timestamp, new_id},
    db::{RowLock, lock_sql},
    errors::ApiResult,
    tenancy::{Scope, tenant_entity},
};

tenant_entity!(mailboxes, NotFound);

/// Failures after which a mail is skipped.
pub const PARKED_AFTER: i32 = 3;

/// What makes two mailboxes the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The host in lower case.
    pub host: String,
    /// The port.
    pub port: i32,
    /// The user name, as the server takes it.
    pub username: String,
}

/// The mailbox that a credential names.
pub fn name_of(row: &smtp_credentials::Model) -> Option<Name> {
    let (host, username) = (row.imap_host.as_ref()?, row.imap_username.as_ref()?);
    Some(Name { host: host.to_lowercase(), port: row.imap_port?, username: username.clone() })
}

/// Which credentials name a mailbox `m`, in SQL.
const NAMED: &str = "s.account_id = m.account_id AND s.imap_username = m.username AND s.imap_port = m.port \
                     AND lower(s.imap_host) = m.host AND s.deleted_at IS NULL";

/// The campaign of a credential that names a mailbox, in SQL.
const LIVING: &str = "k.id = s.campaign_id AND k.deleted_at IS NULL";

/// The order in which several mailboxes of an account are locked, in SQL: that of [`Name`], by bytes whatever the
/// collation of the database.
pub const fn lock_order_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "host COLLATE \"C\", port, username COLLATE \"C\"",
        DbBackend::Sqlite | DbBackend::MySql | _ => "host, port, username",
    }
}

/// Makes sure that a mailbox is read, and soon. Who is reading it loses the lease: it may have begun with a password that
/// was corrected since, and would leave the mailbox as that found it.
///
/// # Errors
/// What the database refuses.
pub async fn adopt(scope: &Scope, name: &Name, now: Timestamp) -> ApiResult<()> {
    // DO UPDATE, not DO NOTHING: the row is locked, and waited for where somebody is deleting it.
    let sql = "INSERT INTO mailboxes (account_id, id, host, port, username, next_poll_at, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (account_id, host, port, username) \
               DO UPDATE SET next_poll_at = excluded.next_poll_at, failures = 0, lease_token = NULL, leased_until = NULL";
    let values = [
        new_id().into(),
        name.host.clone().into(),
        name.port.into(),
        name.username.clone().into(),
        now.micros().into(),
    ];
    scope.execute(sql, values).await?;
    Ok(())
}

/// Has a mailbox read from the first send on, because a credential that sent before came to it. Who is reading it loses
/// the lease.
async fn read_again(scope: &Scope, name: &Name) -> ApiResult<()> {
    let sql = "UPDATE mailboxes SET uid_validity = NULL, last_uid = 0, last_read_at = NULL, lease_token = NULL, \
               leased_until = NULL WHERE account_id = $1 AND host = $2 AND port = $3 AND username = $4";
    scope.execute(sql, [name.host.clone().into(), name.port.into(), name.username.clone().into()]).await?;
    Ok(())
}

/// Follows a change of a credential.
///
/// # Errors
/// What the database refuses.
pub async fn follow(
    scope: &Scope,
    before: &smtp_credentials::Model,
    after: &smtp_credentials::Model,
    now: Timestamp,
) -> ApiResult<()> {
    let (was, is) = (name_of(before), name_of(after));
    let moved = was != is;
    if moved {
        lock_all(scope).await?;
    }
    if let Some(name) = &is
        && (moved || before.imap_password != after.imap_password)
    {
        adopt(scope, name, now).await?;
        if moved {
            read_again(scope, name).await?;
        }
    }
    if moved && was.is_some() {
        forget_unnamed(scope).await?;
    }
    Ok(())
}

/// Removes the mailboxes that no credential of the account names any more.
///
/// # Errors
/// What the database refuses.
pub async fn forget_unnamed(scope: &Scope) -> ApiResult<()> {
    if !lock_all(scope).await? {
        return Ok(());
    }
    let unnamed = format!(
        "SELECT m.id FROM mailboxes m WHERE m.account_id = $1 AND NOT EXISTS (SELECT 1 FROM smtp_credentials s \
         JOIN campaigns k ON {LIVING} WHERE {NAMED})"
    );
    for row in scope.query(&unnamed, []).await? {
        let id: Uuid = row.try_get("", "id")?;
        scope
            .execute("DELETE FROM parked_mails WHERE account_id = $1 AND mailbox_id = $2", [id.into()])
            .await?;
        scope.execute("DELETE FROM mailboxes WHERE account_id = $1 AND id = $2", [id.into()]).await?;
    }
    Ok(())
}

/// Locks the mailboxes of the account, by a statement of its own: the next one sees a credential that came meanwhile.
/// False: there is none.
async fn lock_all(scope: &Scope) -> ApiResult<bool> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let order = lock_order_sql(scope.backend());
    let sql = format!("SELECT id FROM mailboxes WHERE account_id = $1 ORDER BY {order}{lock}");
    Ok(!scope.query(&sql, []).await?.is_empty())
}

/// A credential that names a mailbox.
#[derive(Clone, Debug)]
pub struct User {
    /// The credential.
    pub credential_id: Uuid,
    /// Its sender's address.
    pub from_email: String,
    /// Its password for the mailbox, sealed to its row.
    pub sealed: Vec<u8>,
}

/// The credentials that name a mailbox, the newest first. `ix_smtp_credentials_mailbox`
///
/// # Errors
/// What the database refuses.
pub async fn users_of(scope: &Scope, mailbox_id: Uuid) -> ApiResult<Vec<User>> {
    let sql = format!(
        "SELECT s.id, s.from_email, s.imap_password FROM mailboxes m JOIN smtp_credentials s ON {NAMED} \
         JOIN campaigns k ON {LIVING} \
         WHERE m.account_id = $1 AND m.id = $2 AND s.imap_password IS NOT NULL ORDER BY s.id DESC LIMIT 200"
    );
    let rows = scope.query(&sql, [mailbox_id.into()]).await?;
    let user = |row: &sea_orm::QueryResult| {
        Ok(User {
            credential_id: row.try_get("", "id")?,
            from_email: row.try_get("", "from_email")?,
            sealed: row.try_get("", "imap_password")?,
        })
    };
    rows.iter().map(user).collect()
}

/// How a credential's mailbox is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Why it could not be read the last time, in the words of `verify`.
    pub error: Option<String>,
    /// When it was last read to its end.
    pub read_at: Option<Timestamp>,
}

/// How the mailboxes of these credentials are doing, by credential.
///
/// # Errors
/// What the database refuses.
pub async fn readings(scope: &Scope, rows: &[smtp_credentials::Model]) -> ApiResult<BTreeMap<Uuid, Reading>> {
    if rows.iter().all(|row| row.imap_host.is_none()) {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let sql = format!(
        "SELECT s.id, m.last_error, m.last_read_at FROM smtp_credentials s JOIN mailboxes m ON {NAMED} \
         WHERE s.account_id = $1 AND s.id IN ({})",
        super::sql::holes(2, ids.len())
    );
    let mut found = BTreeMap::new();
    for row in scope.query(&sql, super::sql::uuids(&ids)).await? {
        let reading =
            Reading { error: row.try_get("", "last_error")?, read_at: row.try_get("", "last_read_at")? };
        found.insert(row.try_get("", "id")?, reading);
    }
    Ok(found)
}

/// Moves the place up to which a mailbox was read. False: it is somebody else's now, and nothing was changed; who asked
/// undoes what was to go with it.
///
/// # Errors
/// What the database refuses.
pub async fn advance(scope: &Scope, id: Uuid, token: Uuid, uid_validity: u32, uid: u32) -> ApiResult<bool> {
    let sql = "UPDATE mailboxes SET uid_validity = $4, last_uid = $5 WHERE account_id = $1 AND id = $2 AND lease_token = $3";
    let values = [id.into(), token.into(), i64::from(uid_validity).into(), i64::from(uid).into()];
    Ok(scope.execute(sql, values).await? == 1)
}

/// Counts a failure of one mail. Answers whether it is parked with this.
///
/// # Errors
/// What the database refuses.
pub async fn count_failure(
    scope: &Scope,
    mailbox_id: Uuid,
    (uid_validity, uid): (u32, u32),
    error: &str,
    now: Timestamp,
) -> ApiResult<bool> {
    let sql = "INSERT INTO parked_mails (account_id, id, mailbox_id, uid_validity, uid, failures, last_error, created_at) \
               VALUES ($1, $2, $3, $4, $5, 1, $6, $7) ON CONFLICT (mailbox_id, uid_validity, uid) DO UPDATE SET \
               failures = parked_mails.failures + 1, last_error = excluded.last_error, \
               parked_at = CASE WHEN parked_mails.failures + 1 >= $8 THEN excluded.created_at END RETURNING parked_at";
    let values = [
        new_id().into(),
        mailbox_id.into(),
        i64::from(uid_validity).into(),
        i64::from(uid).into(),
        error.to_owned().into(),
        now.micros().into(),
        PARKED_AFTER.into(),
    ];
    let row = scope.query_one(sql, values).await?;
    Ok(row.map(|row| row.try_get::<Option<i64>>("", "parked_at")).transpose()?.flatten().is_some())
}

/// The mails of a mailbox after this one that are skipped. `uq_parked_mails_uid`
///
/// # Errors
/// What the database refuses.
pub async fn parked(
    scope: &Scope,
    mailbox_id: Uuid,
    uid_validity: u32,
    after: u32,
) -> ApiResult<HashSet<u32>> {
    let sql = "SELECT uid FROM parked_mails WHERE account_id = $1 AND mailbox_id = $2 AND uid_validity = $3 \
               AND uid > $4 AND parked_at IS NOT NULL";
    let values = [mailbox_id.into(), i64::from(uid_validity).into(), i64::from(after).into()];
    let mut uids = HashSet::new();
    for row in scope.query(sql, values).await? {
        // All of them were u32.
        uids.extend(u32::try_from(row.try_get::<i64>("", "uid")?));
    }
    Ok(uids)
}

/// Whether anything went out through the credentials that name a mailbox. `ix_smtp_credentials_mailbox`,
/// `ix_deliveries_credential`: it stops at the first row.
///
/// # Errors
/// What the database refuses.
pub async fn has_sent(scope: &Scope, mailbox_id: Uuid) -> ApiResult<bool> {
    let sql = format!(
        "SELECT 1 AS one FROM mailboxes m JOIN smtp_credentials s ON {NAMED} JOIN campaigns k ON {LIVING} \
         JOIN deliveries d ON d.account_id = s.account_id AND d.smtp_credential_id = s.id \
         WHERE m.account_id = $1 AND m.id = $2 \
         AND d.state IN ('sending', 'sent', 'bounced', 'uncertain', 'deferred') LIMIT 1"
    );
    Ok(scope.query_one(&sql, [mailbox_id.into()]).await?.is_some())
}

/// The first day on which one of the credentials that name a mailbox took anything to send: every claim makes the row of its
/// day, and that stays as long as the credential. Nothing went out before. The primary key of `credential_days`: one row for
/// each credential, however much was sent.
///
/// # Errors
/// What the database refuses.
pub async fn first_send(scope: &Scope, mailbox_id: Uuid) -> ApiResult<Option<Timestamp>> {
    let sql = format!(
        "SELECT min((SELECT min(d.day) FROM credential_days d WHERE d.smtp_credential_id = s.id)) AS first \
         FROM mailboxes m JOIN smtp_credentials s ON {NAMED} JOIN campaigns k ON {LIVING} \
         WHERE m.account_id = $1 AND m.id = $2"
    );
    let row = scope.query_one(&sql, [mailbox_id.into()]).await?;
    let first = row.map(|row| row.try_get::<Option<i64>>("", "first")).transpose()?.flatten();
    Ok(first.map(Timestamp::from_day))
}
