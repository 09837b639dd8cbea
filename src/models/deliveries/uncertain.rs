//! Uncertain deliveries of any account, as an operator looks for them.

use sea_orm::{QueryResult, Value};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult, Code},
    tenancy::SystemScope,
};

/// Which are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those of one account.
    pub account_id: Option<Uuid>,
    /// Those of one campaign.
    pub campaign_id: Option<Uuid>,
    /// Those behind this one.
    pub after: Option<Uuid>,
    /// So many at most.
    pub limit: u32,
}

/// A delivery of which nobody knows what became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uncertain {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// To whom it was, or was not, sent.
    pub contact_email: String,
    /// The step.
    pub position: i32,
    /// By which credential's address.
    pub from_email: String,
    /// What to look for in that mailbox's sent messages.
    pub message_id: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When the delivery was made.
    pub created_at: Timestamp,
}

/// Lists them, oldest first, without those of deleted campaigns.
///
/// # Errors
/// What the database refuses.
pub async fn list(system: &SystemScope, wanted: &Wanted) -> ApiResult<Vec<Uncertain>> {
    let Wanted { account_id, campaign_id, after, limit } = *wanted;
    let mut values: Vec<Value> = vec![i64::from(limit).into(), after.unwrap_or_default().into()];
    let mut filters = Vec::new();
    for (column, id) in [("account_id", account_id), ("campaign_id", campaign_id)] {
        if let Some(id) = id {
            values.push(id.into());
            filters.push(format!(" AND d.{column} = ${}", values.len()));
        }
    }
    // ix_deliveries_uncertain holds only these.
    let sql = format!(
        "SELECT d.id, d.account_id, d.campaign_id, c.email, d.position, s.from_email, d.message_id, d.attempts, \
         d.created_at FROM deliveries d JOIN campaigns k ON k.id = d.campaign_id AND k.deleted_at IS NULL \
         JOIN enrollments e ON e.id = d.enrollment_id JOIN contacts c ON c.id = e.contact_id \
         JOIN smtp_credentials s ON s.id = d.smtp_credential_id \
         WHERE d.stage = 'uncertain' AND d.id > $2{} ORDER BY d.id LIMIT $1",
        filters.concat()
    );
    let read = |row: &QueryResult| {
        Ok(Uncertain {
            id: row.try_get("", "id")?,
            account_id: row.try_get("", "account_id")?,
            campaign_id: row.try_get("", "campaign_id")?,
            contact_email: row.try_get("", "email")?,
            position: row.try_get("", "position")?,
            from_email: row.try_get("", "from_email")?,
            message_id: row.try_get("", "message_id")?,
            attempts: row.try_get("", "attempts")?,
            created_at: row.try_get("", "created_at")?,
        })
    };
    system.query(&sql, values).await?.iter().map(read).collect()
}

/// Whose delivery it is.
///
/// # Errors
/// `not_found`.
pub async fn owner(system: &SystemScope, id: Uuid) -> ApiResult<Uuid> {
    let row = system.query_one("SELECT account_id FROM deliveries WHERE id = $1", [id.into()]).await?;
    let row = row.ok_or_else(|| ApiError::new(Code::NotFound).message("no delivery has this id"))?;
    Ok(row.try_get("", "account_id")?)
}
