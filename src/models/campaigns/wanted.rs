//! Campaigns of any account, as an operator looks for them.

use sea_orm::{QueryResult, Value};
use serde::Serialize;
use uuid::Uuid;

use crate::{clock::Timestamp, errors::ApiResult, models::states::CampaignStatus, tenancy::SystemScope};

/// Which are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that stand so.
    pub status: Option<CampaignStatus>,
    /// Those of one account.
    pub account_id: Option<Uuid>,
    /// Those behind this one.
    pub after: Option<Uuid>,
    /// So many at most.
    pub limit: u32,
}

/// A campaign, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The owner's address.
    pub account_email: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: CampaignStatus,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Lists them, oldest first, without those that are deleted, or whose account is being erased.
///
/// # Errors
/// What the database refuses.
pub async fn list(system: &SystemScope, wanted: &Wanted) -> ApiResult<Vec<Listed>> {
    let Wanted { status, account_id, after, limit } = *wanted;
    let mut values: Vec<Value> = vec![i64::from(limit).into(), after.unwrap_or_default().into()];
    let mut filters = Vec::new();
    let given =
        [("status", status.map(|it| it.as_str().into())), ("account_id", account_id.map(Value::from))];
    for (column, value) in given {
        if let Some(value) = value {
            values.push(value);
            filters.push(format!(" AND c.{column} = ${}", values.len()));
        }
    }
    // By the primary key: all pages together read the table once.
    let sql = format!(
        "SELECT c.id, c.account_id, a.email, c.name, c.status, c.created_at FROM campaigns c \
         JOIN accounts a ON a.id = c.account_id AND a.deleted_at IS NULL \
         WHERE c.deleted_at IS NULL AND c.id > $2{} ORDER BY c.id LIMIT $1",
        filters.concat()
    );
    let read = |row: &QueryResult| {
        Ok(Listed {
            id: row.try_get("", "id")?,
            account_id: row.try_get("", "account_id")?,
            account_email: row.try_get("", "email")?,
            name: row.try_get("", "name")?,
            status: row.try_get("", "status")?,
            created_at: row.try_get("", "created_at")?,
        })
    };
    system.query(&sql, values).await?.iter().map(read).collect()
}
