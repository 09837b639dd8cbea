//! Webhooks: where an account wants to be told of events, of which ones, and how its endpoint is doing.
//!
//! What is written for an event is in `outbox`; one event for one webhook is in `webhook_deliveries`.

pub mod outbox;

use sea_orm::{ActiveValue::Set, PaginatorTrait};
use uuid::Uuid;

pub use super::_entities::webhooks::{ActiveModel, Column, Entity, Model};
use super::{WebhookUrl, states::EventType};
use crate::{
    clock::{Timestamp, new_id},
    crypto::{OpenError, Place, Sealer, Secret, WebhookSecret},
    db::key_lock_sql,
    errors::{ApiError, ApiResult, Code, Failures, Reason},
    tenancy::{Scope, SystemScope, TenantEntity, tenant_entity},
};

tenant_entity!(webhooks, WebhookNotFound, visible: "webhooks.deleted_at IS NULL");

/// The most webhooks of an account.
pub const MOST: u64 = 20;
/// The filter that lets everything through.
const ALL: &str = "*";

/// Which events a webhook is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filters {
    /// All.
    All,
    /// These.
    Only(Vec<EventType>),
}

impl Filters {
    /// From the words of a request: `["*"]`, or exact names.
    ///
    /// # Errors
    /// Blank for an empty list; not included in the list for an unknown name, or `*` beside others.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, Reason> {
        match words {
            [] => Err(Reason::Blank),
            [only] if only.as_ref() == ALL => Ok(Self::All),
            names => {
                let mut known = Vec::new();
                for name in names {
                    let event = EventType::parse(name.as_ref()).ok_or(Reason::NotInList)?;
                    if event == EventType::WebhookTest {
                        return Err(Reason::NotInList);
                    }
                    if !known.contains(&event) {
                        known.push(event);
                    }
                }
                Ok(Self::Only(known))
            }
        }
    }

    /// From the column. What cannot be read lets nothing through.
    pub fn of_column(column: &serde_json::Value) -> Self {
        let words: Vec<&str> =
            column.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        Self::parse(&words).unwrap_or_else(|_| Self::Only(Vec::new()))
    }

    /// As the column and the API have it.
    pub fn to_column(&self) -> serde_json::Value {
        match self {
            Self::All => serde_json::json!([ALL]),
            Self::Only(events) => events.iter().map(|event| event.as_str()).collect(),
        }
    }

    /// Whether this event passes.
    pub fn pass(&self, event: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Only(events) => events.contains(&event),
        }
    }
}

/// Checked changes of a webhook; `None` leaves a field as it is.
#[derive(Clone, Debug)]
pub struct WebhookChanges {
    /// Another endpoint.
    pub url: Option<WebhookUrl>,
    /// Other events.
    pub filters: Option<Filters>,
    /// Whether it is to be told again.
    pub enable: bool,
}

/// Whose webhook it is.
///
/// # Errors
/// `webhook_not_found`.
pub async fn owner(system: &SystemScope, id: Uuid) -> ApiResult<Uuid> {
    let sql = "SELECT account_id FROM webhooks WHERE id = $1 AND deleted_at IS NULL";
    let row = system.query_one(sql, [id.into()]).await?;
    Ok(row.ok_or_else(|| ApiError::new(Code::WebhookNotFound))?.try_get("", "account_id")?)
}

/// Adds a webhook. Its secret exists in clear in the answer only.
///
/// # Errors
/// `validation_failed` past the bound.
pub async fn create(
    scope: &Scope,
    sealer: &Sealer,
    url: &WebhookUrl,
    filters: &Filters,
    now: Timestamp,
) -> ApiResult<(Model, Secret)> {
    hold_account(scope).await?;
    if scope.find::<Entity>().count(&scope.db()).await? >= MOST {
        let phrase = format!("has the most webhooks it may have ({MOST})");
        return Err(Failures::one("account", Reason::Other(phrase.into())));
    }
    let (id, secret) = (new_id(), WebhookSecret::generate().to_text());
    let row = Model {
        id,
        account_id: scope.account_id(),
        url: url.to_string(),
        event_filters: filters.to_column(),
        secret: sealer.seal(&secret_place(scope.account_id(), id), secret.expose().as_bytes()),
        consecutive_failures: 0,
        failing_since: None,
        disabled_at: None,
        holder: None,
        created_at: now,
        deleted_at: None,
    };
    scope.insert::<Entity>(row.clone()).await?;
    Ok((row, secret))
}

/// Makes those who add webhooks go one at a time, so that the bound holds; foreign keys to the account do not wait.
async fn hold_account(scope: &Scope) -> ApiResult<()> {
    let lock = key_lock_sql(scope.backend());
    scope.query_one(&format!("SELECT id FROM accounts WHERE id = $1{lock}"), []).await?;
    Ok(())
}

/// The webhook, locked until the transaction ends. Last in the lock order: who holds it waits for nothing else.
///
/// # Errors
/// `webhook_not_found`.
pub async fn lock(scope: &Scope, id: Uuid) -> ApiResult<Model> {
    // Events that are being written for it hold its key only.
    let lock = key_lock_sql(scope.backend());
    let sql =
        format!("SELECT id FROM webhooks WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL{lock}");
    if scope.query_one(&sql, [id.into()]).await?.is_none() {
        return Err(Entity::MISSING.into());
    }
    scope.get::<Entity>(id).await
}

/// Changes a webhook. Another endpoint, or being enabled again, begins with a clean record.
///
/// # Errors
/// `webhook_not_found`.
pub async fn change(scope: &Scope, id: Uuid, changes: WebhookChanges) -> ApiResult<Model> {
    let row = lock(scope, id).await?;
    let mut columns = ActiveModel::default();
    if let Some(filters) = changes.filters {
        columns.event_filters = Set(filters.to_column());
    }
    let enabled = changes.enable && row.disabled_at.is_some();
    let moved = changes.url.filter(|url| url.as_str() != row.url);
    if enabled || moved.is_some() {
        columns.consecutive_failures = Set(0);
        columns.failing_since = Set(None);
    }
    if let Some(url) = moved {
        columns.url = Set(url.to_string());
    }
    if enabled {
        columns.disabled_at = Set(None);
    }
    scope.save::<Entity>(id, columns).await?;
    scope.get::<Entity>(id).await
}

/// Gives a webhook another secret; what is signed from now on is signed with it.
///
/// # Errors
/// `webhook_not_found`.
pub async fn rotate_secret(scope: &Scope, sealer: &Sealer, id: Uuid) -> ApiResult<Secret> {
    lock(scope, id).await?;
    let secret = WebhookSecret::generate().to_text();
    let sealed = sealer.seal(&secret_place(scope.account_id(), id), secret.expose().as_bytes());
    scope.save::<Entity>(id, ActiveModel { secret: Set(sealed), ..Default::default() }).await?;
    Ok(secret)
}

/// Hides a webhook and ends what was to go to it; its rows are removed later.
///
/// # Errors
/// `webhook_not_found`.
pub async fn delete(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<()> {
    lock(scope, id).await?;
    let deleted = ActiveModel { deleted_at: Set(Some(now)), ..Default::default() };
    Ok(scope.save::<Entity>(id, deleted).await?)
}

/// What a webhook's deliveries are signed with.
///
/// # Errors
/// When the row was sealed by an unknown key, or changed.
pub fn open_secret(
    sealer: &Sealer,
    account_id: Uuid,
    id: Uuid,
    sealed: &[u8],
) -> Result<WebhookSecret, OpenError> {
    let text = sealer.open_text(&secret_place(account_id, id), sealed)?;
    WebhookSecret::parse(&text).map_err(|_| OpenError::Layout)
}

/// Where the secret of a webhook is sealed to.
pub const fn secret_place(account: Uuid, row: Uuid) -> Place {
    Place { account, table: Entity::TABLE, row, column: "secret" }
}

/// What a disabled webhook answers to a wish for another try.
pub fn disabled_error() -> ApiError {
    ApiError::new(Code::Unprocessable).message("The webhook is disabled: enable it with disabled_at: null")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn filters_are_all_or_exact_names() {
        assert_eq!(Filters::parse(&["*"]), Ok(Filters::All));
        let two = Filters::parse(&["enrollment.sent", "campaign.paused", "enrollment.sent"]).unwrap();
        assert_eq!(two, Filters::Only(vec![EventType::EnrollmentSent, EventType::CampaignPaused]));
        assert!(two.pass(EventType::CampaignPaused) && !two.pass(EventType::EnrollmentOpened));
        assert_eq!(Filters::parse::<&str>(&[]), Err(Reason::Blank));
        for words in
            [&["enrollment.*"][..], &["*", "enrollment.sent"], &["webhook.test"], &["Enrollment.sent"]]
        {
            assert_eq!(Filters::parse(words), Err(Reason::NotInList), "{words:?}");
        }
    }

    #[test]
    fn filters_survive_their_column_and_what_cannot_be_read_passes_nothing() {
        for filters in [Filters::All, Filters::Only(vec![EventType::EnrollmentReplied])] {
            assert_eq!(Filters::of_column(&filters.to_column()), filters);
        }
        assert_eq!(Filters::of_column(&serde_json::json!({})), Filters::Only(vec![]));
    }
}
