//! Every column that holds sealed values: what the rotation of the master key seals anew. A test holds this list against
//! the schema.

use uuid::Uuid;

use crate::{
    crypto::{Place, Sealer},
    errors::ApiResult,
    tenancy::SystemScope,
};

/// Rows of one transaction.
const BATCH: i64 = 200;

/// A column of sealed values. Its table has an `id`, which is the row of their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Whether the place names the row's `account_id`; else the row belongs to the installation.
    pub of_account: bool,
}

const fn of_account(table: &'static str, column: &'static str) -> SealedColumn {
    SealedColumn { table, column, of_account: true }
}

/// All of them.
pub const SEALED: [SealedColumn; 5] = [
    SealedColumn { table: "app_keys", column: "sealed", of_account: false },
    of_account("idempotency_keys", "body"),
    of_account("smtp_credentials", "imap_password"),
    of_account("smtp_credentials", "smtp_password"),
    of_account("webhooks", "secret"),
];

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many values were sealed anew.
    pub resealed: u64,
    /// How many somebody else changed meanwhile, and so sealed.
    pub changed_meanwhile: u64,
    /// The rows whose value none of the keys opens; they stay as they are.
    pub unreadable: Vec<Uuid>,
    /// Where the next batch begins; `None`: there is none.
    pub last: Option<(Uuid, Uuid)>,
}

/// Seals anew a batch of values that another key than the first has sealed. What was done is not found again, so that a
/// run that was interrupted is gone on with by another.
///
/// # Errors
/// What the database refuses.
pub async fn reseal_some(
    system: &SystemScope,
    sealer: &Sealer,
    sealed: SealedColumn,
    after: Option<(Uuid, Uuid)>,
) -> ApiResult<Resealed> {
    let SealedColumn { table, column, of_account } = sealed;
    let owner = if of_account { "account_id" } else { "id" };
    // In the order of the key (account, row) that every such table has. The prefix names layout and key.
    let sql = format!(
        "SELECT {owner} AS account, id, {column} AS value FROM {table} WHERE {column} IS NOT NULL \
         AND substr({column}, 1, {}) <> $1 AND ({owner}, id) > ($2, $3) ORDER BY {owner}, id LIMIT $4",
        sealer.prefix().len()
    );
    let (first, second) = after.unwrap_or_default();
    let values = [sealer.prefix().to_vec().into(), first.into(), second.into(), BATCH.into()];
    let rows = system.query(&sql, values).await?;
    let mut done = Resealed::default();
    for row in &rows {
        let (account, id): (Uuid, Uuid) = (row.try_get("", "account")?, row.try_get("", "id")?);
        let value: Vec<u8> = row.try_get("", "value")?;
        done.last = Some((account, id));
        let place = Place { account: if of_account { account } else { Uuid::nil() }, table, row: id, column };
        let Ok(plain) = sealer.open(&place, &value) else {
            done.unreadable.push(id);
            continue;
        };
        let update =
            format!("UPDATE {table} SET {column} = $1 WHERE id = $2 AND {owner} = $3 AND {column} = $4");
        let anew = sealer.seal(&place, &plain);
        match system.execute(&update, [anew.into(), id.into(), account.into(), value.into()]).await? {
            0 => done.changed_meanwhile += 1,
            _ => done.resealed += 1,
        }
    }
    if i64::try_from(rows.len()).is_ok_and(|count| count < BATCH) {
        done.last = None;
    }
    Ok(done)
}
