//! Accounts as an operator looks at them: named by an id or an address, and seen whole.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult, Code},
    models::{email_address::EmailAddress, periods, states::CampaignStatus},
    tenancy::{Scope, SystemScope},
};

/// An account, also one that is being erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: Uuid,
    /// The owner's address.
    pub email: String,
    /// The owner's name.
    pub name: Option<String>,
    /// The plan it is on.
    pub plan_slug: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its erasing began.
    pub deleted_at: Option<Timestamp>,
    /// When its erasing ended.
    pub erased_at: Option<Timestamp>,
}

/// The account of that id or address, erased or not.
///
/// # Errors
/// `not_found`.
pub async fn find(system: &SystemScope, named: &str) -> ApiResult<Known> {
    let (column, value) = match named.parse::<Uuid>() {
        Ok(id) => ("id", id.into()),
        Err(_) => ("email", EmailAddress::parse(named).map(|it| it.key()).unwrap_or_default().into()),
    };
    // The primary key, or uq_accounts_email.
    let sql = format!(
        "SELECT a.id, a.email, a.name, p.slug, a.created_at, a.deleted_at, a.erased_at FROM accounts a \
         JOIN plans p ON p.id = a.plan_id WHERE a.{column} = $1"
    );
    let row = system.query_one(&sql, [value]).await?;
    let row = row.ok_or_else(|| missing(named))?;
    Ok(Known {
        id: row.try_get("", "id")?,
        email: row.try_get("", "email")?,
        name: row.try_get("", "name")?,
        plan_slug: row.try_get("", "slug")?,
        created_at: row.try_get("", "created_at")?,
        deleted_at: row.try_get("", "deleted_at")?,
        erased_at: row.try_get("", "erased_at")?,
    })
}

/// The same, without those that are being erased.
///
/// # Errors
/// `not_found`.
pub async fn active(system: &SystemScope, named: &str) -> ApiResult<Known> {
    let known = find(system, named).await?;
    if known.deleted_at.is_some() { Err(missing(named)) } else { Ok(known) }
}

fn missing(named: &str) -> ApiError {
    ApiError::new(Code::NotFound).message(format!("no account has the id or address `{named}`"))
}

/// How an account is doing. Sums where there are any; what is counted is bounded or rare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// When its current period began.
    pub period_start: Timestamp,
    /// When that ends.
    pub period_end: Timestamp,
    /// Accepted messages in it.
    pub sends_count: i64,
    /// Messages on their way, or of which nobody knows what became of them.
    pub reserved: i64,
    /// The most that its plan allows.
    pub monthly_limit: i64,
    /// Keys that may be used.
    pub api_keys: i64,
    /// Contacts of all imports.
    pub contacts: i64,
    /// Campaigns by status.
    pub campaigns: Campaigns,
    /// Deliveries that wait for a decision.
    pub uncertain: i64,
    /// Endpoints that are told of events.
    pub webhooks: i64,
    /// Those of them that were disabled.
    pub webhooks_disabled: i64,
    /// Addresses that unsubscribed.
    pub suppressions: i64,
}

/// Campaigns by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Campaigns {
    /// Not dispatched yet.
    pub pending: i64,
    /// Sending.
    pub active: i64,
    /// Held.
    pub paused: i64,
    /// Done.
    pub completed: i64,
}

/// Sums up an account.
///
/// # Errors
/// What the database refuses.
pub async fn standing(scope: &Scope, now: Timestamp) -> ApiResult<Standing> {
    let period = periods::current(scope, now).await?;
    Ok(Standing {
        period_start: period.start,
        period_end: period.end,
        sends_count: period.sends,
        reserved: period.reserved,
        monthly_limit: period.limit,
        api_keys: count(scope, "api_keys WHERE account_id = $1 AND revoked_at IS NULL").await?,
        contacts: sum(scope, "contact_count", "contact_imports WHERE account_id = $1 AND deleted_at IS NULL")
            .await?,
        campaigns: campaigns(scope).await?,
        uncertain: sum(scope, "uncertain", "campaign_totals WHERE account_id = $1").await?,
        webhooks: count(scope, "webhooks WHERE account_id = $1 AND deleted_at IS NULL").await?,
        webhooks_disabled: count(
            scope,
            "webhooks WHERE account_id = $1 AND deleted_at IS NULL AND disabled_at IS NOT NULL",
        )
        .await?,
        suppressions: count(scope, "suppressions WHERE account_id = $1").await?,
    })
}

async fn count(scope: &Scope, what: &str) -> ApiResult<i64> {
    let row = scope.query_one(&format!("SELECT count(*) AS many FROM {what}"), []).await?;
    Ok(row.map(|row| row.try_get("", "many")).transpose()?.unwrap_or_default())
}

async fn sum(scope: &Scope, column: &str, rows: &str) -> ApiResult<i64> {
    let sql = format!("SELECT CAST(COALESCE(sum({column}), 0) AS bigint) AS many FROM {rows}");
    let row = scope.query_one(&sql, []).await?;
    Ok(row.map(|row| row.try_get("", "many")).transpose()?.unwrap_or_default())
}

async fn campaigns(scope: &Scope) -> ApiResult<Campaigns> {
    // ix_campaigns_status
    let sql = "SELECT status, count(*) AS many FROM campaigns WHERE account_id = $1 AND deleted_at IS NULL \
               GROUP BY status";
    let mut found = Campaigns::default();
    for row in scope.query(sql, []).await? {
        let many = row.try_get("", "many")?;
        match row.try_get("", "status")? {
            CampaignStatus::Pending => found.pending = many,
            CampaignStatus::Active => found.active = many,
            CampaignStatus::Paused => found.paused = many,
            CampaignStatus::Completed => found.completed = many,
        }
    }
    Ok(found)
}
